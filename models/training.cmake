# Training: the only part that links LibTorch. Skipped, visibly, where a library is missing.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)  # the tests, in another folder, link them too
# A LibTorch with CUDA sets flags of its own for whatever nvcc compiles, and would run a program to
# see what GPU is here if it were not told one.
set(cuda_flags "${CMAKE_CUDA_FLAGS}")
set(cuda_architectures "${CMAKE_CUDA_ARCHITECTURES}")
unset(CMAKE_CUDA_ARCHITECTURES)
set(TORCH_CUDA_ARCH_LIST 9.0)
find_package(Torch QUIET)
set(CMAKE_CUDA_FLAGS "${cuda_flags}")
set(CMAKE_CUDA_ARCHITECTURES "${cuda_architectures}")
find_package(CURL QUIET)
find_package(ZLIB QUIET)
unset(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL)
# By hand: the CMake files of Debian's libzip name programs of another package.
find_path(ZIP_INCLUDE_DIR zip.h)
find_library(ZIP_LIBRARY zip)
find_path(TURBOJPEG_INCLUDE_DIR turbojpeg.h)
find_library(TURBOJPEG_LIBRARY turbojpeg)
find_package(CLI11 QUIET)
find_path(STB_INCLUDE_DIR stb/stb_image.h)
find_library(JEMALLOC_LIBRARY jemalloc)
set(missing "")
foreach(pair "Torch_FOUND=LibTorch" "ZIP_INCLUDE_DIR=libzip" "ZIP_LIBRARY=libzip"
        "TURBOJPEG_INCLUDE_DIR=libturbojpeg" "TURBOJPEG_LIBRARY=libturbojpeg"
        "CLI11_FOUND=CLI11" "STB_INCLUDE_DIR=stb" "CURL_FOUND=libcurl" "ZLIB_FOUND=zlib")
  string(REPLACE "=" ";" pair "${pair}")
  list(GET pair 0 variable)
  list(GET pair 1 name)
  if(NOT ${variable})
    list(APPEND missing ${name})
  endif()
endforeach()
list(REMOVE_DUPLICATES missing)
if(missing)
  list(JOIN missing ", " missing)
  message(STATUS "pillarbox-train is not built: ${missing} not found")
  return()
endif()

# Readers of training images. Without LibTorch's decoder baggage: libjpeg-turbo and stb only.
add_library(pillarbox_training STATIC
  data/download.cpp
  data/download.h
  data/image_set.cpp
  data/image_set.h
  data/readers.cpp
  data/readers.h
  pillar/activation_layer.cpp
  pillar/activation_layer.h
  pillar/cuda/pass.h
  pillar/fit_report.cpp
  pillar/fit_report.h
  pillar/poly_constants.h
  pillar/poly_relu.cpp
  pillar/poly_relu.h
  training/config.cpp
  training/config.h
  training/export.cpp
  training/export.h
  training/group.cpp
  training/group.h
  training/model_report.cpp
  training/model_report.h
  training/network.cpp
  training/network.h
  training/objective.cpp
  training/objective.h
  training/onnx_import.cpp
  training/onnx_import.h
  training/onnx_writer.cpp
  training/onnx_writer.h
  training/run_folder.cpp
  training/run_folder.h
  training/trainer.cpp
  training/trainer.h
)
target_link_libraries(pillarbox_training
  PUBLIC pillarbox_architectures pillarbox_models pillarbox_onnx pillarbox_fit torch nlohmann_json::nlohmann_json
  PRIVATE pillarbox_inference pillarbox_offline pillarbox_oracle pillarbox_two_party OpenSSL::Crypto CURL::libcurl ZLIB::ZLIB onnx_proto protobuf::libprotobuf ${TURBOJPEG_LIBRARY} ${ZIP_LIBRARY})
target_include_directories(pillarbox_training SYSTEM PRIVATE
  ${TURBOJPEG_INCLUDE_DIR} ${ZIP_INCLUDE_DIR} ${STB_INCLUDE_DIR})
# The activation's loops rely on the vectoriser; errno and the sign of NaN mean nothing to them.
set_source_files_properties(pillar/poly_relu.cpp PROPERTIES
  COMPILE_OPTIONS "-O3;-fopenmp-simd;-fno-math-errno;-fno-trapping-math")
set_source_files_properties(training/onnx_writer.cpp PROPERTIES
  COMPILE_DEFINITIONS "ONNX_ML=1;ONNX_NAMESPACE=onnx")
target_compile_definitions(pillarbox_training PRIVATE PILLARBOX_VERSION="${PROJECT_VERSION}")

# LibTorch's libraries find those of CUDA that they need when they are loaded; a linker that looked
# for them would find others, of the toolkit.
if(TARGET torch_cuda)
  target_link_options(pillarbox_training INTERFACE LINKER:--allow-shlib-undefined)
endif()
# The activation's kernels, where LibTorch has CUDA.
if(TARGET torch_cuda AND PILLARBOX_WITH_CUDA)
  add_library(pillarbox_training_cuda STATIC
    pillar/cuda/poly_relu.cu
    pillar/cuda/poly_relu.cuh
    pillar/cuda/poly_relu.h
  )
  target_compile_options(pillarbox_training_cuda PRIVATE -Xcompiler=-Wall,-Wextra)
  target_link_libraries(pillarbox_training_cuda PRIVATE torch::cudart)
  target_sources(pillarbox_training PRIVATE pillar/cuda/pass.cpp)
  target_link_libraries(pillarbox_training PRIVATE pillarbox_training_cuda)
  set_source_files_properties(pillar/cuda/pass.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  set_source_files_properties(pillar/cuda/pass.cpp pillar/poly_relu.cpp PROPERTIES
    COMPILE_DEFINITIONS PILLARBOX_FUSED_CUDA)
  message(STATUS "pillarbox-train: with CUDA")
elseif(TARGET torch_cuda)
  message(STATUS "pillarbox-train: with CUDA, but without its activation's kernels (no GPU plugin)")
endif()

# LibTorch's header takes longer to read than all of ours to compile, so it is read once. A program
# is compiled as position-independent executable and could not use what was read for a library;
# hence the object library.
target_precompile_headers(pillarbox_training PRIVATE <torch/torch.h> <nlohmann/json.hpp>)
set_source_files_properties(architectures/architecture.cpp pillar/fit_report.cpp
  pillar/poly_relu.cpp training/onnx_writer.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON)

# training_program(NAME SOURCES...): an executable on top of pillarbox_training.
function(training_program name)
  add_library(${name}_objects OBJECT ${ARGN})
  target_compile_definitions(${name}_objects PRIVATE PILLARBOX_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${name}_objects PUBLIC pillarbox_training)
  target_precompile_headers(${name}_objects REUSE_FROM pillarbox_training)
  add_executable(${name})
  target_link_libraries(${name} PRIVATE ${name}_objects)
  # One CUDA runtime in the process: LibTorch's.
  set_target_properties(${name} PROPERTIES CUDA_RUNTIME_LIBRARY Shared)
endfunction()

pillarbox_cold(training/main.cpp)
training_program(pillarbox-train training/main.cpp)
target_link_libraries(pillarbox-train_objects PUBLIC CLI11::CLI11)
if(JEMALLOC_LIBRARY)
  target_sources(pillarbox-train PRIVATE training/allocator.cpp)
  target_link_libraries(pillarbox-train PRIVATE ${JEMALLOC_LIBRARY})
else()
  message(STATUS "pillarbox-train: jemalloc not found, training will be slower")
endif()

#include "models/architectures/architecture.h"

#include <algorithm>
#include <utility>

namespace pillarbox::architectures {
namespace {

// Appends layers and numbers them; every method returns the value that it computes.
class Builder {
 public:
  explicit Builder(Architecture& a) : m_a(a) {}

  int convolution(int in, const std::string& name, int outputs, int kernel, int stride = 1,
                  bool bias = false) {
    return add({LayerKind::Convolution, name, {in}, outputs, kernel, stride, kernel / 2, bias});
  }
  int batchNorm(int in, const std::string& name) { return add({LayerKind::BatchNorm, name, {in}}); }
  int activation(int in, const std::string& name) {
    return add({LayerKind::Activation, name, {in}});
  }
  int averagePool(int in, const std::string& name, int kernel, int stride, int padding = 0) {
    return add({LayerKind::AveragePool, name, {in}, 0, kernel, stride, padding});
  }
  int globalPool(int in) { return add({LayerKind::GlobalAveragePool, "pool", {in}}); }
  int flatten(int in) { return add({LayerKind::Flatten, "flatten", {in}}); }
  int linear(int in, const std::string& name, int outputs) {
    return add({LayerKind::Linear, name, {in}, outputs, 1, 1, 0, true});
  }
  int sum(int a, int b, const std::string& name) { return add({LayerKind::Add, name, {a, b}}); }
  /// Convolution, batch norm, activation, each with this number in its name.
  int block(int in, const std::string& number, int outputs, int kernel, bool bias = false) {
    const int x = convolution(in, "conv" + number, outputs, kernel, 1, bias);
    return activation(batchNorm(x, "bn" + number), "act" + number);
  }

 private:
  int add(Layer layer) {
    m_a.layers.push_back(std::move(layer));
    return static_cast<int>(m_a.layers.size());
  }
  Architecture& m_a;
};

void pillar7(Architecture& a) {
  Builder b(a);
  int x = b.block(0, "1", 32, 3);
  x = b.averagePool(b.block(x, "2", 64, 3), "pool2", 2, 2);
  x = b.block(x, "3", 96, 3);
  x = b.averagePool(b.block(x, "4", 96, 3), "pool4", 2, 2);
  x = b.block(x, "5", 128, 3);
  x = b.globalPool(b.block(x, "6", 128, 3));
  b.linear(b.flatten(x), "fc", a.classes);
}

void minionn(Architecture& a) {
  Builder b(a);
  int x = b.block(0, "1", 64, 3, true);
  x = b.averagePool(b.block(x, "2", 64, 3, true), "pool2", 2, 2);
  x = b.block(x, "3", 64, 3, true);
  x = b.averagePool(b.block(x, "4", 64, 3, true), "pool4", 2, 2);
  x = b.block(x, "5", 64, 3, true);
  x = b.block(x, "6", 64, 1, true);
  x = b.block(x, "7", 16, 1, true);
  b.linear(b.flatten(x), "fc", a.classes);
}

void vgg16(Architecture& a) {
  Builder b(a);
  constexpr int kWidths[] = {64, 128, 256, 512, 512};
  constexpr int kDepths[] = {2, 2, 3, 3, 3};
  int x = 0;
  int number = 0;
  for (int group = 0; group < 5; ++group) {
    for (int i = 0; i < kDepths[group]; ++i) {
      const std::string n = std::to_string(++number);
      x = b.batchNorm(b.convolution(x, "conv" + n, kWidths[group], 3), "bn" + n);
      if (i + 1 == kDepths[group]) x = b.averagePool(x, "pool" + n, 2, 2);
      x = b.activation(x, "act" + n);
    }
  }
  x = b.flatten(x);
  x = b.activation(b.linear(x, "fc1", 512), "act14");
  x = b.activation(b.linear(x, "fc2", 512), "act15");
  b.linear(x, "fc3", a.classes);
}

// Two 3x3 convolutions and a shortcut; a projection where the shape changes.
int basicBlock(Builder& b, int in, const std::string& name, int width, int stride, bool project) {
  int x = b.batchNorm(b.convolution(in, name + "_conv1", width, 3, stride), name + "_bn1");
  x = b.activation(x, name + "_act1");
  x = b.batchNorm(b.convolution(x, name + "_conv2", width, 3), name + "_bn2");
  int shortcut = in;
  if (project) {
    shortcut = b.convolution(in, name + "_shortcut_conv", width, 1, stride);
    shortcut = b.batchNorm(shortcut, name + "_shortcut_bn");
  }
  return b.activation(b.sum(x, shortcut, name + "_add"), name + "_act2");
}

int bottleneck(Builder& b, int in, const std::string& name, int width, int stride, bool project) {
  int x = b.batchNorm(b.convolution(in, name + "_conv1", width, 1), name + "_bn1");
  x = b.activation(x, name + "_act1");
  x = b.batchNorm(b.convolution(x, name + "_conv2", width, 3, stride), name + "_bn2");
  x = b.activation(x, name + "_act2");
  x = b.batchNorm(b.convolution(x, name + "_conv3", 4 * width, 1), name + "_bn3");
  int shortcut = in;
  if (project) {
    shortcut = b.convolution(in, name + "_shortcut_conv", 4 * width, 1, stride);
    shortcut = b.batchNorm(shortcut, name + "_shortcut_bn");
  }
  return b.activation(b.sum(x, shortcut, name + "_add"), name + "_act3");
}

void residualStages(Architecture& a, Builder& b, int x, int firstWidth,
                    const std::vector<int>& depths, bool wideOutputs) {
  for (std::size_t stage = 0; stage < depths.size(); ++stage) {
    const int width = firstWidth << stage;
    for (int i = 0; i < depths[stage]; ++i) {
      const std::string name = "stage" + std::to_string(stage + 1) + "_" + std::to_string(i + 1);
      const int stride = stage > 0 && i == 0 ? 2 : 1;
      const bool project = i == 0 && (stage > 0 || wideOutputs);
      x = wideOutputs ? bottleneck(b, x, name, width, stride, project)
                      : basicBlock(b, x, name, width, stride, project);
    }
  }
  b.linear(b.flatten(b.globalPool(x)), "fc", a.classes);
}

void cifarResnet(Architecture& a, int width, const std::vector<int>& depths) {
  Builder b(a);
  const int stem = b.batchNorm(b.convolution(0, "stem_conv", width, 3), "stem_bn");
  residualStages(a, b, b.activation(stem, "stem_act"), width, depths, false);
}

void resnet9(Architecture& a) {
  Builder b(a);
  int x = b.block(0, "1", 64, 3);
  x = b.averagePool(b.block(x, "2", 128, 3), "pool2", 2, 2);
  x = b.sum(b.block(b.block(x, "3", 128, 3), "4", 128, 3), x, "add4");
  x = b.averagePool(b.block(x, "5", 256, 3), "pool5", 2, 2);
  x = b.averagePool(b.block(x, "6", 512, 3), "pool6", 2, 2);
  x = b.sum(b.block(b.block(x, "7", 512, 3), "8", 512, 3), x, "add8");
  b.linear(b.flatten(b.globalPool(x)), "fc", a.classes);
}

void resnet50(Architecture& a) {
  Builder b(a);
  int x = b.batchNorm(b.convolution(0, "stem_conv", 64, 7, 2), "stem_bn");
  x = b.averagePool(b.activation(x, "stem_act"), "stem_pool", 3, 2, 1);
  residualStages(a, b, x, 64, {3, 4, 6, 3}, true);
}

}  // namespace

const std::vector<ArchitectureInfo>& architectureList() {
  static const std::vector<ArchitectureInfo> kList = {
      {"pillar7", "7 round trips; wide where the image is small; the shipped network", 32, 4, 4.8},
      {"minionn", "MiniONN with batch norm and average pooling", 32, 4, 4.4},
      {"vgg16", "VGG-16 with average pooling and a 512-wide classifier", 32, 32, 4.8},
      {"resnet9", "9 round trips: shallow and wide, half the waiting of ResNet-18", 32, 8, 4.8},
      {"resnet18", "ResNet-18 for small images", 32, 8, 4.8},
      {"resnet32", "ResNet-32 for small images", 32, 4, 4.0},
      {"resnet110", "ResNet-110 for small images", 32, 4, 4.8},
      {"resnet50", "ResNet-50 for ImageNet-sized images", 224, 32, 4.8},
  };
  return kList;
}

Result<Architecture> makeArchitecture(const std::string& name, int classes,
                                      std::uint32_t inputSize) {
  const auto& list = architectureList();
  const auto info =
      std::find_if(list.begin(), list.end(), [&](const auto& i) { return i.name == name; });
  if (info == list.end()) {
    std::string names;
    for (const auto& i : list) names += (names.empty() ? "" : ", ") + i.name;
    return Error{ErrorCode::NotFound,
                 "There is no network \"" + name + "\"; choose from " + names + "."};
  }
  if (classes < 2 || classes > 16384) {
    return Error{ErrorCode::InvalidArgument,
                 "A network needs 2 to 16384 classes, not " + std::to_string(classes) + "."};
  }
  if (inputSize == 0 || inputSize > 1024 || inputSize % info->sizeMultiple != 0) {
    return Error{ErrorCode::InvalidArgument,
                 "Images for " + name + " must have a side that is a multiple of " +
                     std::to_string(info->sizeMultiple) + ", at most 1024; " +
                     std::to_string(inputSize) + " is not."};
  }
  Architecture a;
  a.name = name;
  a.classes = classes;
  a.input = {3, inputSize, inputSize};
  if (name == "pillar7") {
    pillar7(a);
  } else if (name == "minionn") {
    minionn(a);
  } else if (name == "vgg16") {
    vgg16(a);
  } else if (name == "resnet9") {
    resnet9(a);
  } else if (name == "resnet18") {
    cifarResnet(a, 64, {2, 2, 2, 2});
  } else if (name == "resnet32") {
    cifarResnet(a, 16, {5, 5, 5});
  } else if (name == "resnet110") {
    cifarResnet(a, 16, {18, 18, 18});
  } else {
    resnet50(a);
  }
  PILLARBOX_TRY(inferShapes(a));
  return a;
}

Result<std::vector<models::Shape>> inferShapes(const Architecture& architecture) {
  std::vector<models::Shape> shapes{architecture.input};
  for (const Layer& layer : architecture.layers) {
    const auto fail = [&](const std::string& why) {
      return Error{ErrorCode::InvalidArgument, "Layer " + layer.name + ": " + why + "."};
    };
    if (layer.inputs.empty() || (layer.inputs.size() > 1) != (layer.kind == LayerKind::Add)) {
      return fail("wrong number of inputs");
    }
    for (const int input : layer.inputs) {
      if (input < 0 || static_cast<std::size_t>(input) >= shapes.size()) {
        return fail("reads a value that does not exist yet");
      }
    }
    models::Shape shape = shapes[static_cast<std::size_t>(layer.inputs.front())];
    const auto window = [&](std::uint32_t& side) {
      const int room = static_cast<int>(side) + 2 * layer.padding - layer.kernel;
      if (room < 0) return false;
      side = static_cast<std::uint32_t>(room / layer.stride + 1);
      return true;
    };
    switch (layer.kind) {
      case LayerKind::Convolution:
        shape.channels = static_cast<std::uint32_t>(layer.outputs);
        [[fallthrough]];
      case LayerKind::AveragePool:
        if (!window(shape.height) || !window(shape.width)) return fail("the image is too small");
        break;
      case LayerKind::GlobalAveragePool:
        shape.height = shape.width = 1;
        break;
      case LayerKind::Flatten:
        shape = {static_cast<std::uint32_t>(shape.size()), 1, 1};
        break;
      case LayerKind::Linear:
        if (shape.height != 1 || shape.width != 1) return fail("its input is not flat");
        shape.channels = static_cast<std::uint32_t>(layer.outputs);
        break;
      case LayerKind::Add:
        for (const int input : layer.inputs) {
          if (!(shapes[static_cast<std::size_t>(input)] == shape)) return fail("shapes differ");
        }
        break;
      case LayerKind::BatchNorm:
      case LayerKind::Activation:
        break;
    }
    shapes.push_back(shape);
  }
  return shapes;
}

Counts countsOf(const Architecture& architecture) {
  const std::vector<models::Shape> shapes = inferShapes(architecture).value();
  Counts counts;
  counts.rounds = 1;
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    const Layer& layer = architecture.layers[i];
    const models::Shape& in = shapes[static_cast<std::size_t>(layer.inputs.front())];
    const models::Shape& out = shapes[i + 1];
    switch (layer.kind) {
      case LayerKind::Convolution:
        ++counts.convolutions;
        [[fallthrough]];
      case LayerKind::Linear: {
        const auto k = static_cast<std::uint64_t>(layer.kernel);
        const std::uint64_t perOutput = in.channels * k * k;
        counts.parameters += perOutput * out.channels + (layer.bias ? out.channels : 0);
        counts.multiplyAdds += perOutput * out.size();
        break;
      }
      case LayerKind::BatchNorm:
        counts.parameters += std::uint64_t{2} * out.channels;
        break;
      case LayerKind::Activation:
        counts.activations += out.size();
        ++counts.rounds;
        break;
      default:
        break;
    }
  }
  return counts;
}

}  // namespace pillarbox::architectures

#include "engine/he/cuda/he_table.cuh"

namespace pillarbox::he::cuda {

const HeTable kHeTable = kLaunchers;

}  // namespace pillarbox::he::cuda

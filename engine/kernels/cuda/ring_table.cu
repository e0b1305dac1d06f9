#include "engine/kernels/cuda/ring_table.cuh"

namespace pillarbox::kernels::cuda {

const RingTable kRingTable = kLaunchers;

}  // namespace pillarbox::kernels::cuda

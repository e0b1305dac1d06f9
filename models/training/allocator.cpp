// Keeps the pages of freed tensors.
//
// A training step frees and takes the same few hundred megabytes again and again. Returned to the
// kernel in between, every page comes back zeroed and faulting, which took half of a step.
// jemalloc reads this symbol at start-up.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "narenas:4,dirty_decay_ms:-1,muzzy_decay_ms:-1";
}

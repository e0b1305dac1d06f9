// Several processes, on one machine or many, that train one network together.
//
// Every process holds the whole network and the whole data set, and takes its part of every batch:
// of the B images that one process would have trained on, the process with rank r of N takes images
// r B / N to (r + 1) B / N - 1. Gradients are added up over all of them before the step, so all
// take the same step, and it is the one that a single process would have taken:
//
// - the loss is a mean over the batch, so each process divides its own mean by N;
// - the penalty is a sum over the batch, so the processes' sums add up to it;
// - a batch norm's statistics are those of the whole batch, not of a part: batchNorm() below adds
//   them up in the forward pass, and in the backward pass what flows through them.
//
// Two things are taken of a process' own part, as one process would not: the partner of an image in
// mixup and cutmix, and statistics of scaled or separately normalised activations (the leader's are
// handed to all after every step). Class weights are normalised by part.
//
// The process with rank 0 leads: it alone reads and writes the run's folder,
// and hands the others the configuration and the state of a checkpoint. It
// decides about pausing; any can stop all. The data and a teacher's run are
// read by every process.
//
// Transport is LibTorch's c10d: a TCP store at the leader for the rendezvous, then Gloo on CPUs and
// NCCL on GPUs (where LibTorch has it). c10d neither encrypts nor asks who is calling: use it
// inside one machine or on a network that only its users reach.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "engine/core/result.h"

namespace pillarbox::training {

struct GroupOptions {
  int rank = 0;  ///< of this process, from 0; 0 leads
  int size = 1;
  std::string rendezvous = "127.0.0.1:29500";  ///< host and port at which the leader listens
  std::string interface;  ///< network interface to talk through, e.g. "eth0"; empty: by route
  double patience = 300;  ///< seconds to wait for the others at the start
};

class Group {
 public:
  /// Waits until all processes are there.
  /// Errors: InvalidArgument (numbers, address), Unreachable (not all came), Unsupported (this
  /// LibTorch has no c10d).
  static Result<std::unique_ptr<Group>> join(const GroupOptions& options,
                                             const torch::Device& device);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return m_rank; }
  int size() const { return m_size; }
  bool leads() const { return m_rank == 0; }

  // All processes must call the same of these in the same order, with tensors of one shape and
  // type. Each throws std::runtime_error where another process has ended.

  /// Replaces a tensor, in place, by the sum over all processes.
  void sum(torch::Tensor tensor);
  /// The leader's tensor, in place.
  void broadcast(torch::Tensor tensor);
  /// The leader's text.
  std::string broadcast(const std::string& text);
  /// The leader's tensors, in place, as one message a type.
  void broadcast(const std::vector<torch::Tensor>& tensors);
  /// Adds up the gradients of parameters that have one, as one message.
  void sumGradients(const std::vector<torch::Tensor>& parameters);

 private:
  struct Backend;
  Group(int rank, int size, std::unique_ptr<Backend> backend);
  void collect(torch::Tensor& tensor, bool add);

  int m_rank, m_size;
  std::unique_ptr<Backend> m_backend;
};

/// A batch norm in training mode over the parts of all processes; differentiable in x and in the
/// module's weight and bias (whose gradients are those of this part). Updates running statistics.
/// Cost: one small message each way.
torch::Tensor batchNorm(const torch::Tensor& x, torch::nn::BatchNorm2dImpl& module, Group& group);

}  // namespace pillarbox::training

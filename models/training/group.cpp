#include "models/training/group.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>

// LibTorch's headers for Gloo need Gloo's own, which Debian packages apart.
#if defined(USE_C10D_GLOO) && __has_include(<gloo/context.h>)
#define PILLARBOX_C10D 1
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#if defined(USE_C10D_NCCL) && __has_include(<nccl.h>)
#define PILLARBOX_NCCL 1
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#endif

namespace pillarbox::training {
namespace {

// A pause may be long; a process that ends is noticed at once, by its connections.
[[maybe_unused]] constexpr std::chrono::hours kLongestWait{24 * 7};

bool splitAddress(const std::string& address, std::string& host, std::uint16_t& port) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  host = address.substr(0, colon);
  const char* end = address.data() + address.size();
  const auto [stop, error] = std::from_chars(address.data() + colon + 1, end, port);
  return error == std::errc() && stop == end && port != 0;
}

}  // namespace

#ifdef PILLARBOX_C10D

// What Gloo's and NCCL's groups are derived from.
#if TORCH_VERSION_MAJOR >= 2
using Processes = c10d::Backend;
#else
using Processes = c10d::ProcessGroup;
#endif

struct Group::Backend {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<Processes> group;
  bool takesCuda = false;
};

Result<std::unique_ptr<Group>> Group::join(const GroupOptions& options,
                                           const torch::Device& device) {
  std::string host;
  std::uint16_t port = 0;
  if (options.size < 1 || options.size > 4096 || options.rank < 0 || options.rank >= options.size) {
    return Error{ErrorCode::InvalidArgument, "The rank must be 0 to " +
                                                 std::to_string(options.size - 1) + ", not " +
                                                 std::to_string(options.rank) + "."};
  }
  if (!splitAddress(options.rendezvous, host, port)) {
    return Error{ErrorCode::InvalidArgument,
                 "The rendezvous \"" + options.rendezvous + "\" is not of the form host:port."};
  }
  auto backend = std::make_unique<Backend>();
  try {
    c10d::TCPStoreOptions store;
    store.port = port;
    store.isServer = options.rank == 0;
    store.numWorkers = static_cast<std::size_t>(options.size);
    store.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options.patience));
    backend->store = c10::make_intrusive<c10d::TCPStore>(host, store);
    backend->store->setTimeout(kLongestWait);
#ifdef PILLARBOX_NCCL
    if (device.is_cuda()) {
      auto nccl = c10d::ProcessGroupNCCL::Options::create();
      nccl->timeout = kLongestWait;
      backend->group = c10::make_intrusive<c10d::ProcessGroupNCCL>(backend->store, options.rank,
                                                                   options.size, nccl);
      backend->takesCuda = true;
    }
#else
    (void)device;  // Gloo; tensors on a GPU travel through the CPU's memory
#endif
    if (!backend->group) {
      auto gloo = c10d::ProcessGroupGloo::Options::create(kLongestWait);
      const bool local = host == "localhost" || host.starts_with("127.");
      gloo->devices.push_back(
          !options.interface.empty()
              ? c10d::ProcessGroupGloo::createDeviceForInterface(options.interface)
          : local ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                  : c10d::ProcessGroupGloo::createDefaultDevice());
      gloo->threads = 1;
      backend->group = c10::make_intrusive<c10d::ProcessGroupGloo>(backend->store, options.rank,
                                                                   options.size, gloo);
    }
  } catch (const std::exception& e) {
    const auto* torchError = dynamic_cast<const c10::Error*>(&e);
    return Error{ErrorCode::Unreachable,
                 "The " + std::to_string(options.size) + " processes did not all meet at " +
                     options.rendezvous + ": " +
                     (torchError ? torchError->what_without_backtrace() : e.what())};
  }
  return std::unique_ptr<Group>(new Group(options.rank, options.size, std::move(backend)));
}

void Group::collect(torch::Tensor& tensor, bool add) {
  std::vector<torch::Tensor> list{tensor};
  try {
    const auto work = add ? m_backend->group->allreduce(list) : m_backend->group->broadcast(list);
    work->wait();
  } catch (const std::exception&) {
    throw std::runtime_error(
        "Another process of the group has ended, or the connection to it. "
        "Start all of them again "
        "with \"resume\": they continue from the last checkpoint.");
  }
}

#else

struct Group::Backend {
  bool takesCuda = false;
};

Result<std::unique_ptr<Group>> Group::join(const GroupOptions&, const torch::Device&) {
  return Error{ErrorCode::Unsupported,
               "This build trains in one process only: Gloo's header files "
               "were not there when it "
               "was made."};
}

void Group::collect(torch::Tensor&, bool) {
  throw std::logic_error("there is no group");
}

#endif

Group::Group(int rank, int size, std::unique_ptr<Backend> backend)
    : m_rank(rank), m_size(size), m_backend(std::move(backend)) {}
Group::~Group() = default;

void Group::sum(torch::Tensor tensor) {
  const torch::NoGradGuard guard;
  torch::Tensor moved = tensor.detach();
  if (tensor.is_cuda() != m_backend->takesCuda) {
    moved = moved.to(m_backend->takesCuda ? torch::kCUDA : torch::kCPU);
  }
  moved = moved.contiguous();
  collect(moved, true);
  if (moved.data_ptr() != tensor.data_ptr()) tensor.copy_(moved);
}

void Group::broadcast(torch::Tensor tensor) {
  const torch::NoGradGuard guard;
  torch::Tensor moved = tensor.detach();
  if (tensor.is_cuda() != m_backend->takesCuda) {
    moved = moved.to(m_backend->takesCuda ? torch::kCUDA : torch::kCPU);
  }
  moved = moved.contiguous();
  collect(moved, false);
  if (moved.data_ptr() != tensor.data_ptr()) tensor.copy_(moved);
}

std::string Group::broadcast(const std::string& text) {
  torch::Tensor size = torch::full({1}, static_cast<std::int64_t>(text.size()), torch::kLong);
  broadcast(size);
  torch::Tensor bytes = torch::zeros({size.item<std::int64_t>()}, torch::kByte);
  if (bytes.numel() == 0) return {};
  if (leads()) std::memcpy(bytes.data_ptr(), text.data(), text.size());
  broadcast(bytes);
  return {static_cast<const char*>(bytes.data_ptr()), static_cast<std::size_t>(bytes.numel())};
}

void Group::broadcast(const std::vector<torch::Tensor>& tensors) {
  const torch::NoGradGuard guard;
  std::map<torch::ScalarType, std::vector<torch::Tensor>> byType;
  for (const auto& t : tensors) byType[t.scalar_type()].push_back(t);
  for (auto& [type, list] : byType) {
    std::vector<torch::Tensor> flat;
    for (const auto& t : list) flat.push_back(t.detach().reshape({-1}));
    const torch::Tensor message = torch::cat(flat);
    broadcast(message);
    std::int64_t at = 0;
    for (auto& t : list) {
      t.detach().copy_(message.slice(0, at, at + t.numel()).view(t.sizes()));
      at += t.numel();
    }
  }
}

void Group::sumGradients(const std::vector<torch::Tensor>& parameters) {
  const torch::NoGradGuard guard;
  std::map<torch::ScalarType, std::vector<torch::Tensor>> byType;
  for (const auto& p : parameters) {
    if (p.grad().defined()) byType[p.scalar_type()].push_back(p.grad());
  }
  for (auto& [type, list] : byType) {
    std::vector<torch::Tensor> flat;
    for (const auto& g : list) flat.push_back(g.reshape({-1}));
    const torch::Tensor message = torch::cat(flat);
    sum(message);
    std::int64_t at = 0;
    for (auto& g : list) {
      g.copy_(message.slice(0, at, at + g.numel()).view(g.sizes()));
      at += g.numel();
    }
  }
}

namespace {

// y = (x - mean) / deviation * weight + bias with the whole batch's mean and deviation. With
// u = (x - mean) / deviation and sums over the whole batch of n values a channel,
//   dx = weight / deviation * (dy - sum(dy) / n - u sum(dy u) / n).
class SharedNorm : public torch::autograd::Function<SharedNorm> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight, const torch::Tensor& bias,
                               const torch::Tensor& mean, const torch::Tensor& inverse,
                               double count, std::int64_t group) {
    context->save_for_backward({x, weight, mean, inverse});
    context->saved_data["count"] = count;
    context->saved_data["group"] = group;
    const torch::Tensor scale = weight * inverse;
    return x * broadcastable(scale) + broadcastable(bias - mean * scale);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2], &inverse = saved[3];
    const torch::Tensor& dy = gradients[0];
    const torch::Tensor bySum = dy.sum({0, 2, 3});
    const torch::Tensor byUnit = ((dy * x).sum({0, 2, 3}) - mean * bySum) * inverse;
    const torch::Tensor sums = torch::stack({bySum, byUnit}).to(torch::kDouble);
    reinterpret_cast<Group*>(context->saved_data["group"].toInt())->sum(sums);
    const torch::Tensor mean2 = (sums / context->saved_data["count"].toDouble()).to(dy.dtype());
    const torch::Tensor scale = weight * inverse;
    const torch::Tensor slope = -scale * inverse * mean2[1];
    const torch::Tensor dx = dy * broadcastable(scale) + x * broadcastable(slope) -
                             broadcastable(scale * mean2[0] + slope * mean);
    return {dx, byUnit, bySum, {}, {}, {}, {}};
  }

 private:
  static torch::Tensor broadcastable(const torch::Tensor& channels) {
    return channels.view({1, -1, 1, 1});
  }
};

}  // namespace

torch::Tensor batchNorm(const torch::Tensor& x, torch::nn::BatchNorm2dImpl& module, Group& group) {
  torch::Tensor mean, inverse;
  double count = static_cast<double>(x.numel() / x.size(1));
  {
    const torch::NoGradGuard guard;
    const auto [variance, own] =
        torch::var_mean(x.detach(), torch::IntArrayRef{0, 2, 3}, /*unbiased=*/false);
    const torch::Tensor m = own.to(torch::kDouble);
    const torch::Tensor sums = torch::cat({m * count, (variance.to(torch::kDouble) + m * m) * count,
                                           torch::full({1}, count, m.options())});
    group.sum(sums);
    const std::int64_t channels = x.size(1);
    count = sums[2 * channels].item<double>();
    const torch::Tensor all = sums.slice(0, 0, channels) / count;
    const torch::Tensor spread =
        (sums.slice(0, channels, 2 * channels) / count - all * all).clamp_min(0);
    mean = all.to(x.dtype());
    inverse = torch::rsqrt(spread + module.options.eps()).to(x.dtype());
    const double momentum = module.options.momentum().value_or(0.1);
    module.running_mean.lerp_(mean, momentum);
    module.running_var.lerp_((spread * (count / std::max(1.0, count - 1))).to(x.dtype()), momentum);
    module.num_batches_tracked.add_(1);
  }
  return SharedNorm::apply(x, module.weight, module.bias, mean, inverse, count,
                           reinterpret_cast<std::int64_t>(&group));
}

}  // namespace pillarbox::training

// The engine's side of an inference on a GPU: the same messages and the same words as runEngine().
//
// Status: compiled, and tested in emulation; not yet run on a GPU.
//
// Tensors stay on the device between the first message and the last; what crosses the bus is what
// crosses the wire, and the correlations of the set. Per stage:
//
//   host    receives a chunk of y0 − r into pinned memory, and has it copied while the next arrives
//   device  graphs that were captured once: adds the engine's share, applies the stage's ops, adds
//           masks and bias, truncates, packs; copies out the first channels while it computes the
//           others; then the polynomial's own share, and overwrites the used correlations
//   host    sends what has come out, and uploads the correlations of the stage after the next while
//           the client answers
//
// A DeviceSeat is all that an inference needs on the device (tensors, streams, graphs). Seats
// belong to a model and are handed from inference to inference, so that in the steady state nothing
// is allocated or captured. As many sessions as have a seat at the same time compute side by side,
// in streams of their own: small layers of several images fill the device together.
//
// What the device sees: the engine's weights, its own shares and masks, and masked values. All of
// it is overwritten before its memory is given back.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "engine/core/result.h"
#include "engine/device/device.h"
#include "engine/device/ledger.h"
#include "engine/inference/executor.h"

namespace pillarbox::inference {

class DeviceModel;

struct DeviceOptions {
  /// A tensor leaves in as many pieces of at least this many words, up to four.
  std::size_t pieceWords = std::size_t{1} << 16;
  /// After the device has said no, so long only seats are given away that others have left: to try
  /// costs time.
  std::chrono::milliseconds retry{10000};
};

/// What one inference took on the device, by its clock.
struct DeviceTimes {
  /// From the first kernel of a stage to its last, of all stages: other sessions' kernels that ran
  /// in between are in it, waiting for the client and copies are not.
  double computing = 0;
  /// Bringing the set's correlations there, which overlaps with the client's answers.
  double copying = 0;
  std::uint64_t copiedBytes = 0;
};

/// A place on the device for one inference of one model at a time. Goes back to the model's others
/// when it is destroyed. Not thread safe. After any error it cannot be used again.
class DeviceSeat {
 public:
  DeviceSeat(DeviceSeat&&) noexcept;
  ~DeviceSeat();

  /// Takes the set over and brings its beginning to the device. Nothing is received or sent.
  /// Errors: Internal for a set of another model; Exhausted where the device fails; Unsupported for
  /// a set of another protocol than HoneyBadger. The set is then as it was, and after the last two
  /// the processor can serve it.
  Status take(offline::EngineSet& set);
  /// As runEngine(), by HoneyBadger, with the set that was taken. Once for each.
  /// Errors: those of the channel; Internal where the device failed, and deviceFailed() says so.
  Status run(net::Channel& channel);
  bool deviceFailed() const { return m_deviceFailed; }
  /// Of the last run() that succeeded.
  const DeviceTimes& times() const { return m_times; }

 private:
  friend class DeviceEngine;
  friend class DeviceModel;
  class State;
  DeviceSeat(std::shared_ptr<DeviceModel> model, std::unique_ptr<State> state);
  std::shared_ptr<DeviceModel> m_model;
  std::unique_ptr<State> m_state;
  bool m_deviceFailed = false;
  DeviceTimes m_times;
};

/// The models on a device. Any thread may call any function.
class DeviceEngine {
 public:
  /// @param ledger  where seats write what they did, as device::Purpose::Inference
  explicit DeviceEngine(
      device::DevicePtr device, DeviceOptions options = {},
      std::shared_ptr<device::Ledger> ledger = std::make_shared<device::Ledger>());
  ~DeviceEngine();

  /// A seat for the model, whose weights are uploaded at first use and released with the model.
  /// Errors: Exhausted where the device says no, which is mostly for want of memory: run the
  /// inference on the processor.
  Result<DeviceSeat> seat(const std::shared_ptr<const EngineModel>& model);

  /// Of the device, for logs.
  std::string description() const;

 private:
  struct Models;
  device::DevicePtr m_device;
  DeviceOptions m_options;
  std::shared_ptr<device::Ledger> m_ledger;
  std::unique_ptr<Models> m_models;
};

}  // namespace pillarbox::inference

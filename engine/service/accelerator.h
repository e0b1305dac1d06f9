// What computes the engine's side of inferences and of correlation sets: the processor, and a GPU
// where one works.
//
// A device serves nobody before it has given the processor's words in a check. An inference that it
// cannot begin (no memory for one more seat, or it fails before anything was received or sent) is
// the processor's, with the same set. One that it fails in the middle of is lost, with its set:
// some of its masks are used. A device that goes on failing is not used any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "engine/core/result.h"
#include "engine/device/ledger.h"
#include "engine/inference/device_executor.h"
#include "engine/service/metrics.h"

namespace pillarbox::service {

/// After start(), any thread may call any function.
class Accelerator {
 public:
  using Loader = std::function<Result<device::DevicePtr>()>;

  /// Looks for a device as the setting compute.device says ("auto", "cpu" or "cuda"), checks it,
  /// and logs in one line what computes, and in words why it is not a GPU. Errors: Unsupported for
  /// "cuda" where there is none that works.
  Status start(const std::string& setting, const Loader& load,
               inference::DeviceOptions options = {});

  /// For makeEngineParty(); null: the processor. The first call checks the device for that purpose
  /// too, and logs what comes of it if it is not good.
  device::DevicePtr forPreparation();
  const std::shared_ptr<device::Ledger>& ledger() const { return m_ledger; }

  struct Computed {
    Status status;
    const char* device;  ///< "cpu" or "cuda"
  };
  /// Runs the engine's side of an inference where it can be run. The set is consumed.
  /// @param onProcessor  runs it on the processor
  Computed infer(net::Channel& channel, const std::shared_ptr<const inference::EngineModel>& model,
                 offline::EngineSet set,
                 const std::function<Status(offline::EngineSet)>& onProcessor);

  /// To be called when work failed: says in the log if it was the device, and whether that is not
  /// used any more.
  void review(const Error& error);

  DeviceReading reading() const;

 private:
  Computed counted(Status status, const char* device);

  device::DevicePtr m_device;
  std::shared_ptr<device::Ledger> m_ledger = std::make_shared<device::Ledger>();
  std::unique_ptr<inference::DeviceEngine> m_engine;  ///< null: the processor computes everything
  std::atomic<std::int64_t> m_seats{0};
  std::atomic<std::uint64_t> m_onProcessor{0}, m_onDevice{0};

  std::once_flag m_preparationTried;
  bool m_prepares = false;

  std::mutex m_mutex;
  std::array<std::uint64_t, 2> m_reviewed{};  ///< failures that the log knows, by purpose
  bool m_saidUnusable = false;
};

}  // namespace pillarbox::service

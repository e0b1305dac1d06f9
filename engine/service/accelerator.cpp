#include "engine/service/accelerator.h"

#include <utility>

#include "engine/inference/device_check.h"
#include "engine/offline/two_party/party.h"
#include "engine/service/log.h"

namespace pillarbox::service {
namespace {

constexpr char kProcessor[] = "cpu";
constexpr char kDevice[] = "cuda";

const char* nameOf(device::Purpose purpose) {
  return purpose == device::Purpose::Inference ? "inference" : "preparation";
}

}  // namespace

Status Accelerator::start(const std::string& setting, const Loader& load,
                          inference::DeviceOptions options) {
  const auto onProcessor = [](const std::string& reason) {
    logEvent(LogLevel::Info, "compute", {{"device", kProcessor}, {"reason", reason}});
    return Status();
  };
  if (setting == "cpu") return onProcessor("compute.device is \"cpu\"");
  auto loaded = load();
  Status good = loaded.ok() ? inference::checkDevice(*loaded) : Status(loaded.error());
  if (!good.ok()) {
    if (setting != "cuda") return onProcessor(good.error().message);
    return Error{ErrorCode::Unsupported,
                 good.error().message +
                     "; as --device cuda (compute.device) asks for one, nothing is served: repair "
                     "that, or use \"auto\" or \"cpu\" to compute on the processor"};
  }
  m_device = std::move(loaded).value();
  m_engine = std::make_unique<inference::DeviceEngine>(m_device, options, m_ledger);
  logEvent(LogLevel::Info, "compute", {{"device", kDevice}, {"name", m_device->description()}});
  return {};
}

device::DevicePtr Accelerator::forPreparation() {
  if (!m_device || !m_ledger->usable()) return nullptr;
  std::call_once(m_preparationTried, [this] {
    const Status good = offline::two_party::checkDevice(m_device);
    m_prepares = good.ok();
    if (m_prepares) return;
    logError(LogLevel::Warning, "device_declined", good.error(),
             {{"phase", nameOf(device::Purpose::Preparation)}});
  });
  return m_prepares ? m_device : nullptr;
}

Accelerator::Computed Accelerator::infer(
    net::Channel& channel, const std::shared_ptr<const inference::EngineModel>& model,
    offline::EngineSet set, const std::function<Status(offline::EngineSet)>& onProcessor) {
  if (m_engine && m_ledger->usable()) {
    auto seat = m_engine->seat(model);
    const Status taken = seat.ok() ? seat->take(set) : Status(seat.error());
    if (taken.ok()) {
      ++m_seats;
      const Status status = seat->run(channel);
      --m_seats;
      if (!status.ok()) review(status.error());
      return counted(status, kDevice);
    }
    const ErrorCode code = taken.error().code;
    // Unsupported: what this set needs is not done on a device.
    if (code != ErrorCode::Exhausted && code != ErrorCode::Unsupported) return {taken, kDevice};
    if (code == ErrorCode::Exhausted) {
      logEvent(LogLevel::Warning, "device_declined",
               {{"phase", nameOf(device::Purpose::Inference)}, {"error", taken.error().message}});
      review(taken.error());
    }
  }
  return counted(onProcessor(std::move(set)), kProcessor);
}

Accelerator::Computed Accelerator::counted(Status status, const char* device) {
  if (status.ok()) ++(device == kDevice ? m_onDevice : m_onProcessor);
  return {std::move(status), device};
}

void Accelerator::review(const Error& error) {
  const std::lock_guard lock(m_mutex);
  for (const auto purpose : {device::Purpose::Inference, device::Purpose::Preparation}) {
    std::uint64_t& reviewed = m_reviewed[static_cast<std::size_t>(purpose)];
    const std::uint64_t failures = m_ledger->failures(purpose);
    if (std::exchange(reviewed, failures) == failures) continue;
    logEvent(LogLevel::Warning, "device_failed",
             {{"phase", nameOf(purpose)}, {"failures", failures}, {"error", error.message}});
  }
  if (m_ledger->usable() || std::exchange(m_saidUnusable, true)) return;
  logEvent(LogLevel::Error, "device_dropped",
           {{"failures_in_a_row", device::Ledger::kMostFailures},
            {"meaning",
             "the GPU keeps failing and is not used any more; the processor computes until this "
             "program is started again"}});
}

DeviceReading Accelerator::reading() const {
  DeviceReading reading;
  reading.usable = m_engine != nullptr && m_ledger->usable();
  reading.seats = m_seats;
  reading.inferencesOnProcessor = m_onProcessor;
  reading.inferencesOnDevice = m_onDevice;
  const auto read = [this](device::Purpose purpose) {
    return DeviceReading::Phase{m_ledger->seconds(purpose), m_ledger->failures(purpose),
                                m_ledger->declines(purpose)};
  };
  reading.inference = read(device::Purpose::Inference);
  reading.preparation = read(device::Purpose::Preparation);
  return reading;
}

}  // namespace pillarbox::service

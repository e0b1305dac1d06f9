// What a service does as a process: stop signals and readiness.
#pragma once

#include <string>

namespace pillarbox::service {

/// Blocks SIGTERM and SIGINT in this thread and all that it starts; waitForStop() takes them.
/// Call before the first thread.
void blockStopSignals();

/// Waits for SIGTERM or SIGINT. Returns its name.
std::string waitForStop();

/// Tells systemd ("READY=1", "STOPPING=1", "STATUS=..."), where $NOTIFY_SOCKET names its socket;
/// does nothing elsewhere. Source: sd_notify(3).
void notifySystemd(const std::string& state);

}  // namespace pillarbox::service

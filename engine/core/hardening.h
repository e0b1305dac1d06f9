// What every program with masks in its memory does first.
#pragma once

namespace pillarbox {

/// Turns core dumps and tracing by other processes off, and ignores SIGPIPE (a peer that closes is
/// an error to report, not a reason to die). Call first in main. Under a sanitizer tracing stays
/// on: its leak checker needs it.
void hardenProcess();

}  // namespace pillarbox

#include "engine/core/result.h"

namespace pillarbox {

const char* toString(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "invalid_argument";
    case ErrorCode::NotFound:
      return "not_found";
    case ErrorCode::Io:
      return "io";
    case ErrorCode::Format:
      return "format";
    case ErrorCode::Unsupported:
      return "unsupported";
    case ErrorCode::Version:
      return "version";
    case ErrorCode::Unreachable:
      return "unreachable";
    case ErrorCode::Timeout:
      return "timeout";
    case ErrorCode::Closed:
      return "closed";
    case ErrorCode::Cancelled:
      return "cancelled";
    case ErrorCode::Protocol:
      return "protocol";
    case ErrorCode::Untrusted:
      return "untrusted";
    case ErrorCode::Refused:
      return "refused";
    case ErrorCode::Exhausted:
      return "exhausted";
    case ErrorCode::Internal:
      return "internal";
  }
  return "internal";
}

}  // namespace pillarbox

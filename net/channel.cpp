// The frame codec and the meter. See channel.h for the format and for what a depth is.
#include "net/channel.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "net/failure.pb.h"
#include "net/frame.h"
#include "net/text.h"

namespace pillarbox::net {
namespace {

static_assert(std::endian::native == std::endian::little,
              "words are sent as they lie in memory; a big-endian machine needs a swap here");

using Clock = std::chrono::steady_clock;

/// A receive takes memory in steps of what has already arrived, from this on.
constexpr std::size_t kFirstPiece = std::size_t{1} << 20;
/// Longest a best-effort exchange of Failure frames may take.
constexpr std::chrono::milliseconds kFarewell{2000};
constexpr std::chrono::milliseconds kLastWords{500};
constexpr std::size_t kMaxSkipped = std::size_t{64} << 20;

FailureCode toWire(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return FAILURE_INVALID_ARGUMENT;
    case ErrorCode::NotFound:
      return FAILURE_NOT_FOUND;
    case ErrorCode::Io:
      return FAILURE_IO;
    case ErrorCode::Format:
      return FAILURE_FORMAT;
    case ErrorCode::Unsupported:
      return FAILURE_UNSUPPORTED;
    case ErrorCode::Version:
      return FAILURE_VERSION;
    case ErrorCode::Unreachable:
      return FAILURE_UNREACHABLE;
    case ErrorCode::Timeout:
      return FAILURE_TIMEOUT;
    case ErrorCode::Closed:
      return FAILURE_CLOSED;
    case ErrorCode::Cancelled:
      return FAILURE_CANCELLED;
    case ErrorCode::Protocol:
      return FAILURE_PROTOCOL;
    case ErrorCode::Untrusted:
      return FAILURE_UNTRUSTED;
    case ErrorCode::Refused:
      return FAILURE_REFUSED;
    case ErrorCode::Exhausted:
      return FAILURE_EXHAUSTED;
    case ErrorCode::Internal:
      return FAILURE_INTERNAL;
  }
  return FAILURE_INTERNAL;
}

/// Cancelled and Untrusted would be mistaken for this side's own user and this side's own pins.
ErrorCode fromWire(FailureCode code) {
  switch (code) {
    case FAILURE_INVALID_ARGUMENT:
      return ErrorCode::InvalidArgument;
    case FAILURE_NOT_FOUND:
      return ErrorCode::NotFound;
    case FAILURE_IO:
      return ErrorCode::Io;
    case FAILURE_FORMAT:
      return ErrorCode::Format;
    case FAILURE_UNSUPPORTED:
      return ErrorCode::Unsupported;
    case FAILURE_VERSION:
      return ErrorCode::Version;
    case FAILURE_UNREACHABLE:
      return ErrorCode::Unreachable;
    case FAILURE_TIMEOUT:
      return ErrorCode::Timeout;
    case FAILURE_CLOSED:
      return ErrorCode::Closed;
    case FAILURE_CANCELLED:
      return ErrorCode::Closed;
    case FAILURE_PROTOCOL:
      return ErrorCode::Protocol;
    case FAILURE_EXHAUSTED:
      return ErrorCode::Exhausted;
    case FAILURE_INTERNAL:
      return ErrorCode::Internal;
    default:
      return ErrorCode::Refused;
  }
}

}  // namespace

std::uint32_t roundsBetween(const MeterReading& before, const MeterReading& after) {
  return after.depth > before.depth ? (after.depth - before.depth + 1) / 2 : 0;
}

struct Channel::State {
  explicit State(std::unique_ptr<Transport> t) : transport(std::move(t)) {}

  std::unique_ptr<Transport> transport;

  // Order of locking: receiveMutex or sendMutex, then mutex.
  std::mutex sendMutex;  // guards the outgoing direction
  std::uint64_t nextSent = 0;
  bool sendBroken = false;  // a frame may have gone out in part

  std::mutex receiveMutex;  // guards the incoming direction
  std::uint64_t nextReceived = 0;
  bool receiveBroken = false;  // the stream no longer stands at the start of a frame

  mutable std::mutex mutex;  // guards what follows
  MeterReading meter;
  std::uint32_t sentDepth = 0;
  std::uint32_t receivedDepth = 0;
  std::chrono::milliseconds timeout{0};
  std::optional<Error> failure;

  std::optional<Error> poisoned() const {
    const std::scoped_lock lock(mutex);
    return failure;
  }

  /// Poisons the channel; the error that did so first is the one everybody gets.
  Error fail(Error error) {
    const std::scoped_lock lock(mutex);
    if (!failure) failure = std::move(error);
    return *failure;
  }

  Error protocolError(const std::string& what) {
    return {ErrorCode::Protocol, transport->peer() + " " + what};
  }

  Status transmit(FrameKind kind, std::span<const std::byte> payload);
  Status readTimed(std::span<std::byte> bytes);
  Result<FrameHeader> readHeader();
  Error readFailure(std::size_t length);
  Result<FrameHeader> expect(FrameKind kind, std::size_t least, std::size_t most);
  void countReceived(const FrameHeader& header);
  std::optional<Error> lastWords();
};

/// Sends a frame whatever the state of the channel is. Call with sendMutex held.
Status Channel::State::transmit(FrameKind kind, std::span<const std::byte> payload) {
  FrameHeader header;
  header.kind = kind;
  header.length = static_cast<std::uint32_t>(payload.size());
  header.sequence = nextSent;
  {
    // Recorded before the bytes leave: the answer may arrive before write returns.
    const std::scoped_lock lock(mutex);
    if (receivedDepth == std::numeric_limits<std::uint32_t>::max()) {
      return Error{ErrorCode::Exhausted,
                   "this connection has carried too many round trips; connect again"};
    }
    header.depth = receivedDepth + 1;
    sentDepth = std::max(sentDepth, header.depth);
    meter.depth = std::max(meter.depth, header.depth);
  }
  std::array<std::byte, kFrameHeaderBytes> bytes;
  encodeFrameHeader(header, bytes);
  Status written = transport->write(bytes, payload);
  if (!written.ok()) {
    sendBroken = true;
    return written;
  }
  ++nextSent;
  const std::scoped_lock lock(mutex);
  meter.bytesSent += kFrameHeaderBytes + payload.size();
  ++meter.framesSent;
  return {};
}

Status Channel::State::readTimed(std::span<std::byte> bytes) {
  const auto start = Clock::now();
  Status status = transport->read(bytes);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const std::scoped_lock lock(mutex);
  meter.waitedSeconds += seconds;
  return status;
}

/// Reads a header and checks everything in it that does not depend on what the caller waits for.
Result<FrameHeader> Channel::State::readHeader() {
  std::array<std::byte, kFrameHeaderBytes> bytes;
  receiveBroken = true;  // until the whole frame is in
  PILLARBOX_TRY(readTimed(bytes));
  Result<FrameHeader> header = decodeFrameHeader(bytes);
  if (!header) return protocolError(header.error().message);
  if (header->sequence != nextReceived) {
    return protocolError("sent frame " + std::to_string(header->sequence) + " where frame " +
                         std::to_string(nextReceived) +
                         " was due: a frame was lost, repeated or moved");
  }
  const std::scoped_lock lock(mutex);
  if (header->depth < std::max<std::uint32_t>(receivedDepth, 1) ||
      std::uint64_t{header->depth} > std::uint64_t{sentDepth} + 1) {
    return protocolError("sent a frame of depth " + std::to_string(header->depth) +
                         ", which cannot be");
  }
  return header;
}

void Channel::State::countReceived(const FrameHeader& header) {
  ++nextReceived;
  receiveBroken = false;
  const std::scoped_lock lock(mutex);
  receivedDepth = std::max(receivedDepth, header.depth);
  meter.depth = std::max(meter.depth, header.depth);
  meter.bytesReceived += kFrameHeaderBytes + header.length;
  ++meter.framesReceived;
}

/// Takes in the payload of a Failure frame.
Error Channel::State::readFailure(std::size_t length) {
  if (length > kMaxFailurePayload) return protocolError("sent an overlong failure message");
  std::string bytes(length, '\0');
  Status read = readTimed(std::as_writable_bytes(std::span(bytes)));
  if (!read.ok()) return std::move(read).error();
  Failure failure;
  if (!failure.ParseFromString(bytes)) return protocolError("sent a damaged failure message");
  const ErrorCode code = fromWire(failure.code());
  std::string text = sanitizeForDisplay(failure.message(), kMaxFailureText);
  if (text.empty()) text = toString(code);
  return {code, transport->peer() + " says: " + text};
}

/// Reads the header of a frame of `kind` and of `least` to `most` bytes.
Result<FrameHeader> Channel::State::expect(FrameKind kind, std::size_t least, std::size_t most) {
  PILLARBOX_ASSIGN(FrameHeader header, readHeader());
  if (header.kind == FrameKind::Failure && kind != FrameKind::Failure) {
    return readFailure(header.length);
  }
  if (header.kind != kind) {
    return protocolError(std::string("sent a frame of ") + toString(header.kind) + " where " +
                         toString(kind) + " was due");
  }
  if (header.length < least || header.length > most) {
    std::string due = std::to_string(most);
    if (least != most) due = "at most " + due;
    return protocolError("sent " + std::to_string(header.length) + " bytes of " + toString(kind) +
                         " where " + due + " were due");
  }
  return header;
}

/// After a send found the connection gone: did the other side say why? Skips frames that nobody
/// will read any more, for a moment.
std::optional<Error> Channel::State::lastWords() {
  const std::unique_lock lock(receiveMutex, std::try_to_lock);
  if (!lock || receiveBroken) return std::nullopt;  // the receiving thread will see it itself
  transport->setTimeout(kLastWords);
  std::vector<std::byte> skipped(64 * 1024);
  const auto until = Clock::now() + kFarewell;
  for (std::size_t total = 0; total <= kMaxSkipped && Clock::now() < until;) {
    const Result<FrameHeader> header = readHeader();
    if (!header) return std::nullopt;
    if (header->kind == FrameKind::Failure) return readFailure(header->length);
    for (std::size_t left = header->length; left > 0;) {
      const std::size_t piece = std::min(left, skipped.size());
      if (!transport->read(std::span(skipped).first(piece)).ok()) return std::nullopt;
      left -= piece;
      total += piece;
    }
    total += kFrameHeaderBytes;
    countReceived(*header);
  }
  return std::nullopt;
}

Channel::Channel(std::unique_ptr<Transport> transport)
    : m_state(std::make_unique<State>(std::move(transport))) {
  if (!m_state->transport) throw std::logic_error("Channel needs a transport");
}

Channel::~Channel() = default;

Status Channel::send(FrameKind kind, std::span<const std::byte> payload) {
  if (payload.size() > kMaxPayload) {
    return Error{ErrorCode::InvalidArgument,
                 "a frame carries at most " + std::to_string(kMaxPayload) + " bytes"};
  }
  const std::scoped_lock lock(m_state->sendMutex);
  if (auto error = m_state->poisoned()) return *std::move(error);
  Status sent = m_state->transmit(kind, payload);
  if (sent.ok()) return sent;
  if (sent.error().code == ErrorCode::Closed) {
    if (auto said = m_state->lastWords()) return m_state->fail(*std::move(said));
  }
  return m_state->fail(std::move(sent).error());
}

Status Channel::sendWords(std::span<const std::uint64_t> words) {
  return send(FrameKind::Words, std::as_bytes(words));
}

Result<std::vector<std::byte>> Channel::receive(FrameKind kind, std::size_t maxBytes) {
  const std::scoped_lock lock(m_state->receiveMutex);
  if (auto error = m_state->poisoned()) return *std::move(error);
  Result<FrameHeader> header = m_state->expect(kind, 0, maxBytes);
  if (!header) return m_state->fail(std::move(header).error());
  std::vector<std::byte> payload;
  while (payload.size() < header->length) {
    const std::size_t have = payload.size();
    const std::size_t next = std::max(kFirstPiece, have);  // doubles
    payload.resize(std::min<std::size_t>(header->length, have + next));
    Status read = m_state->readTimed(std::span(payload).subspan(have));
    if (!read.ok()) return m_state->fail(std::move(read).error());
  }
  m_state->countReceived(*header);
  return payload;
}

Status Channel::receiveWords(std::span<std::uint64_t> words) {
  const auto bytes = std::as_writable_bytes(words);
  const std::scoped_lock lock(m_state->receiveMutex);
  if (auto error = m_state->poisoned()) return *std::move(error);
  Result<FrameHeader> header = m_state->expect(FrameKind::Words, bytes.size(), bytes.size());
  if (!header) return m_state->fail(std::move(header).error());
  Status read = m_state->readTimed(bytes);
  if (!read.ok()) return m_state->fail(std::move(read).error());
  m_state->countReceived(*header);
  return {};
}

Status Channel::receiveBytes(std::span<std::byte> bytes) {
  const std::scoped_lock lock(m_state->receiveMutex);
  if (auto error = m_state->poisoned()) return *std::move(error);
  Result<FrameHeader> header = m_state->expect(FrameKind::Bytes, bytes.size(), bytes.size());
  if (!header) return m_state->fail(std::move(header).error());
  Status read = m_state->readTimed(bytes);
  if (!read.ok()) return m_state->fail(std::move(read).error());
  m_state->countReceived(*header);
  return {};
}

void Channel::sendFailure(const Error& error) noexcept {
  try {
    Failure failure;
    failure.set_code(toWire(error.code));
    failure.set_message(sanitizeForDisplay(error.message, kMaxFailureText));
    std::string payload;
    if (!failure.SerializeToString(&payload)) return;
    m_state->fail(error);
    // A thread that is stuck in a send holds the mutex; it is not worth waiting for long.
    std::unique_lock lock(m_state->sendMutex, std::try_to_lock);
    const auto until = Clock::now() + kFarewell;
    while (!lock && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      (void)lock.try_lock();
    }
    if (!lock || m_state->sendBroken) return;
    std::chrono::milliseconds timeout{0};
    {
      const std::scoped_lock guard(m_state->mutex);
      timeout = m_state->timeout;
    }
    if (timeout.count() == 0 || timeout > kFarewell) m_state->transport->setTimeout(kFarewell);
    (void)m_state->transmit(FrameKind::Failure, std::as_bytes(std::span(payload)));
  } catch (...) {
    // Out of memory while giving up: nothing is left to do.
  }
}

void Channel::setTimeout(std::chrono::milliseconds timeout) {
  {
    const std::scoped_lock lock(m_state->mutex);
    m_state->timeout = timeout;
  }
  m_state->transport->setTimeout(timeout);
}

void Channel::setSendLimits(const SendLimits& limits) {
  m_state->transport->setSendLimits(limits);
}

void Channel::hold(std::chrono::milliseconds duration) noexcept {
  m_state->transport->hold(duration);
}

void Channel::cancel() noexcept {
  m_state->transport->cancel();
}

MeterReading Channel::meter() const {
  const std::scoped_lock lock(m_state->mutex);
  return m_state->meter;
}

std::string Channel::peer() const {
  return m_state->transport->peer();
}

}  // namespace pillarbox::net

// Result<T>: a value, or an error that a person can act on.
//
// What can fail in use (files, configuration, handshakes, bytes from the other side) returns one of
// these. A broken precondition, which is a bug in the caller, throws std::logic_error instead. The
// shape follows the familiar absl::StatusOr / std::expected; C++20 has neither.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace pillarbox {

/// What went wrong, for programs. The message is for people.
enum class ErrorCode {
  InvalidArgument,  ///< the caller's value is out of range
  NotFound,         ///< no such file, model, certificate
  Io,               ///< the disk or the operating system said no
  Format,           ///< bytes that are not what they claim to be
  Unsupported,      ///< well-formed, but something this program does not do
  Version,          ///< written or spoken by another version
  Unreachable,      ///< nobody answers at that address
  Timeout,          ///< somebody stopped answering
  Closed,           ///< the other side closed the connection
  Cancelled,        ///< the user or a shutdown stopped it
  Protocol,         ///< the other side sent what the protocol does not allow at this point
  Untrusted,        ///< unknown or changed certificate
  Refused,          ///< the other side declined, and said why
  Exhausted,        ///< a limit (sessions, memory, correlation sets) is reached
  Internal,         ///< a fault of this program
};

/// The lower-case name of a code, as logs and JSON print it ("not_found").
const char* toString(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::Internal;
  std::string message;  ///< one sentence: what happened, and where possible what to do next
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : m_state(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : m_state(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return m_state.index() == 0; }
  explicit operator bool() const { return ok(); }

  /// The value; throws std::logic_error if there is none (check ok() first).
  T& value() & { return checked(), std::get<0>(m_state); }
  const T& value() const& { return checked(), std::get<0>(m_state); }
  T&& value() && { return checked(), std::get<0>(std::move(m_state)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  const Error& error() const& { return std::get<1>(m_state); }
  Error&& error() && { return std::get<1>(std::move(m_state)); }

 private:
  void checked() const {
    if (!ok()) throw std::logic_error("Result has no value: " + std::get<1>(m_state).message);
  }
  std::variant<T, Error> m_state;
};

/// Success, or an error: the Result of what returns nothing.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : m_error(std::move(error)), m_ok(false) {}
  bool ok() const { return m_ok; }
  explicit operator bool() const { return m_ok; }
  const Error& error() const& { return m_error; }
  Error&& error() && { return std::move(m_error); }

 private:
  Error m_error;
  bool m_ok = true;
};

}  // namespace pillarbox

#define PILLARBOX_CONCAT_(a, b) a##b
#define PILLARBOX_CONCAT(a, b) PILLARBOX_CONCAT_(a, b)

/// Returns the error of a Status or Result from the enclosing function, if there is one.
#define PILLARBOX_TRY(expression)                                         \
  do {                                                                    \
    auto pillarboxStatus = (expression);                                  \
    if (!pillarboxStatus.ok()) return std::move(pillarboxStatus).error(); \
  } while (false)

/// PILLARBOX_ASSIGN(auto x, f()): declares x as the value of f(), or returns its error.
#define PILLARBOX_ASSIGN(declaration, expression) \
  PILLARBOX_ASSIGN_(PILLARBOX_CONCAT(pillarboxResult, __LINE__), declaration, expression)
#define PILLARBOX_ASSIGN_(name, declaration, expression) \
  auto name = (expression);                              \
  if (!name.ok()) return std::move(name).error();        \
  declaration = std::move(name).value()

#include "engine/service/admin_session.h"

#include <algorithm>
#include <exception>

#include "net/message_io.h"
#include "net/text.h"

namespace pillarbox::service {
namespace {

using net::proto::AdminReply;
using net::proto::AdminRequest;

constexpr std::size_t kMaxRequestBytes = 4096;

Error protocolError(const std::string& message) {
  return {ErrorCode::Protocol, message};
}

std::string shown(const std::string& text) {
  return net::sanitizeForDisplay(text, 128);
}

}  // namespace

AdminSession::AdminSession(const AdminContext& context, std::uint64_t id,
                           std::unique_ptr<net::TlsTransport> transport)
    : m_context(context),
      m_id(id),
      m_fingerprint(transport->peerFingerprint()),
      m_channel(std::move(transport)) {}

void AdminSession::audit(const char* action, const Status& status,
                         std::vector<LogField> fields) const {
  std::vector<LogField> line = {{"action", action},
                                {"administrator", m_fingerprint ? m_fingerprint->text() : "none"},
                                {"peer", m_channel.peer()},
                                {"connection", m_id},
                                {"result", status.ok() ? "ok" : toString(status.error().code)}};
  line.insert(line.end(), fields.begin(), fields.end());
  if (!status.ok()) line.emplace_back("error", status.error().message);
  logEvent(LogLevel::Audit, "administration", line);
}

void AdminSession::run() noexcept {
  try {
    Status status;
    try {
      status = serve();
    } catch (const std::exception& exception) {
      status =
          Error{ErrorCode::Internal, std::string("a fault of the engine: ") + exception.what()};
    }
    if (!status.ok() && status.error().code != ErrorCode::Closed) {
      m_channel.sendFailure(status.error().code == ErrorCode::Internal
                                ? Error{ErrorCode::Internal, "the engine failed; see its log"}
                                : status.error());
    }
    const bool usual = status.ok() || status.error().code == ErrorCode::Closed;
    audit("disconnect", usual ? Status() : status, {});
  } catch (...) {
    // Logging failed: there is nobody left to tell.
  }
}

Status AdminSession::serve() {
  m_channel.setTimeout(m_context.handshakeTimeout);
  if (m_refusal) return *m_refusal;
  if (!m_fingerprint) {
    return Error{ErrorCode::Untrusted,
                 "administration needs a client certificate and none was shown; make one with "
                 "pillarbox-cli admin keygen"};
  }
  if (!m_context.administrators.contains(*m_fingerprint)) {
    return Error{ErrorCode::Untrusted,
                 "the certificate " + m_fingerprint->text() +
                     " does not belong to an administrator of this engine; whoever runs it can add "
                     "it (administration.fingerprints)"};
  }
  PILLARBOX_ASSIGN(const AdminRequest request,
                   net::receiveMessage<AdminRequest>(m_channel, kMaxRequestBytes));
  if (!request.has_hello()) return protocolError("the administrator did not begin with AdminHello");
  if (request.hello().protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the administrator speaks protocol version " +
                                         std::to_string(request.hello().protocol_version()) +
                                         ", this engine " + std::to_string(net::kProtocolVersion) +
                                         "; install the same version of Pillarbox on both sides"};
  }
  audit("connect", {}, {{"software", net::sanitizeForDisplay(request.hello().software(), 64)}});
  PILLARBOX_TRY(sendListing({}));
  for (;;) {
    m_channel.setTimeout(m_context.idleTimeout);
    PILLARBOX_ASSIGN(const AdminRequest next,
                     net::receiveMessage<AdminRequest>(m_channel, kMaxRequestBytes));
    if (next.has_goodbye()) return {};
    m_channel.setTimeout(m_context.networkTimeout);
    PILLARBOX_TRY(handle(next));
  }
}

Status AdminSession::handle(const AdminRequest& request) {
  ModelLibrary& library = m_context.library;
  switch (request.message_case()) {
    case AdminRequest::kList:
      audit("list", {}, {});
      return sendListing({});
    case AdminRequest::kUpload:
      return upload(request.upload());
    case AdminRequest::kActivate:
      return answer("activate",
                    library.activate(request.activate().id(), request.activate().revision()),
                    request.activate().id());
    case AdminRequest::kRollback:
      return answer("rollback", library.rollback(request.rollback().revision()), {});
    case AdminRequest::kRemove:
      return answer("remove", library.remove(request.remove().id(), request.remove().revision()),
                    request.remove().id());
    case AdminRequest::kHello:
    case AdminRequest::kGoodbye:
    case AdminRequest::MESSAGE_NOT_SET:
      break;
  }
  return protocolError("the administrator sent a message that has no place here");
}

Status AdminSession::answer(const char* action, const Result<std::string>& outcome,
                            const std::string& asked) {
  const std::string model = outcome.ok() ? *outcome : shown(asked);
  audit(action, outcome.ok() ? Status() : Status(outcome.error()), {{"model", model}});
  if (outcome.ok()) return sendListing(*outcome);
  AdminReply reply;
  *reply.mutable_declined() = net::declinedBy(outcome.error());
  return net::sendMessage(m_channel, reply);
}

Status AdminSession::upload(const net::proto::AdminUpload& request) {
  std::array<std::uint8_t, 32> digest{};
  std::string id;
  if (request.sha256().size() == digest.size()) {
    std::copy(request.sha256().begin(), request.sha256().end(), digest.begin());
    id = hexText(digest);
  }
  auto begun = m_context.library.beginUpload(request.bytes(), id, request.file());
  if (!begun.ok()) return answer("upload", begun.error(), request.file());
  AdminReply go;
  go.mutable_go();
  bool refused = false;
  Result<std::string> outcome = Error{};
  if (Status sent = net::sendMessage(m_channel, go); sent.ok()) {
    outcome = receive(**begun, refused);
  } else {
    outcome = std::move(sent).error();
  }
  begun->reset();
  if (outcome.ok() || refused) return answer("upload", outcome, request.file());
  audit("upload", outcome.error(), {{"model", shown(request.file())}});
  return outcome.error();
}

Result<std::string> AdminSession::receive(ModelLibrary::Upload& upload, bool& refused) {
  while (upload.left() > 0) {
    PILLARBOX_ASSIGN(const auto bytes,
                     m_channel.receive(net::FrameKind::Bytes, net::kAdminChunkBytes));
    if (bytes.empty()) return protocolError("a piece of the file is empty");
    PILLARBOX_TRY(upload.write(bytes));
  }
  refused = true;
  return upload.finish(m_fingerprint->text());
}

Status AdminSession::sendListing(const std::string& done) {
  const LibraryListing listing = m_context.library.list();
  AdminReply reply;
  net::proto::AdminListing& message = *reply.mutable_listing();
  message.set_protocol_version(net::kProtocolVersion);
  message.set_software(net::softwareName());
  message.set_revision(listing.revision);
  message.set_previous(listing.previous);
  message.set_max_upload_bytes(listing.maxUploadBytes);
  message.set_done(done);
  for (const LibraryModel& model : listing.models) {
    net::proto::AdminModel& entry = *message.add_models();
    entry.set_id(model.id);
    entry.set_file(model.file);
    entry.set_name(model.name);
    entry.set_hash(std::string(model.hash.begin(), model.hash.end()));
    entry.set_bytes(model.bytes);
    entry.set_rounds(model.rounds);
    entry.set_activations(model.activations);
    entry.set_weights(model.weights);
    entry.set_classes(model.classes);
    entry.set_added(model.added);
    entry.set_added_by(model.addedBy);
    entry.set_configured(model.configured);
    entry.set_active(model.active);
    entry.set_served(model.served);
  }
  return net::sendMessage(m_channel, reply);
}

}  // namespace pillarbox::service

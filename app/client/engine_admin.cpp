#include "app/client/engine_admin.h"

#include <fstream>

#include "app/client/engine_pin.h"
#include "engine/core/digest.h"
#include "engine/core/files.h"
#include "net/message_io.h"
#include "net/text.h"

namespace pillarbox::client {
namespace {

namespace fs = std::filesystem;
using net::proto::AdminReply;
using net::proto::AdminRequest;

constexpr std::size_t kMaxReplyBytes = std::size_t{1} << 20;

Error outOfStep() {
  return {ErrorCode::Protocol, "the engine sent a message that has no place here"};
}

Error ended() {
  return {ErrorCode::Cancelled, "the connection was ended"};
}

bool isId(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Reads the file in pieces. Errors: Io; what `take` returns.
Status inPieces(std::ifstream& stream, const fs::path& file,
                const std::function<Status(std::span<const std::byte>)>& take) {
  std::vector<char> buffer(net::kAdminChunkBytes);
  stream.clear();
  stream.seekg(0);
  for (;;) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto count = static_cast<std::size_t>(stream.gcount());
    if (count > 0) PILLARBOX_TRY(take(std::as_bytes(std::span(buffer.data(), count))));
    if (stream.eof()) return {};
    if (!stream) return Error{ErrorCode::Io, file.string() + " cannot be read"};
  }
}

}  // namespace

AdminKeyFiles adminKeyFiles(const fs::path& stateDirectory) {
  return {stateDirectory / "admin-certificate.pem", stateDirectory / "admin-key.pem"};
}

Result<net::Fingerprint> makeAdminKey(const fs::path& stateDirectory) {
  PILLARBOX_TRY(makePrivateDirectory(stateDirectory));
  PILLARBOX_ASSIGN(const auto generated, net::generateCertificate("pillarbox administrator"));
  const AdminKeyFiles files = adminKeyFiles(stateDirectory);
  PILLARBOX_TRY(net::writeCertificate(generated, files.certificate, files.key));
  return generated.fingerprint;
}

const EngineModelEntry* EngineModels::find(const std::string& id) const {
  for (const EngineModelEntry& model : models) {
    if (model.id == id) return &model;
  }
  return nullptr;
}

EngineAdmin::EngineAdmin(AdminOptions options) : m_options(std::move(options)) {}

EngineAdmin::~EngineAdmin() {
  if (!m_channel || m_cancelled) return;
  AdminRequest goodbye;
  goodbye.mutable_goodbye();
  static_cast<void>(net::sendMessage(*m_channel, goodbye).ok());
}

void EngineAdmin::cancel() noexcept {
  const std::lock_guard lock(m_mutex);
  m_cancelled = true;
  if (m_connector) m_connector->cancel();
  if (m_channel) m_channel->cancel();
}

Status EngineAdmin::openConnection() {
  const net::Endpoint& engine = m_options.engine;
  auto identity = net::Identity::load(m_options.certificate, m_options.key);
  if (!identity.ok()) {
    Error error = std::move(identity).error();
    if (error.code == ErrorCode::NotFound) {
      error.message += "; make an administrator key first (pillarbox-cli admin keygen)";
    }
    return error;
  }
  PILLARBOX_ASSIGN(const EnginePin pin,
                   EnginePin::find(m_options.stateDirectory, engine, m_options.trust));
  net::ConnectOptions options;
  options.endpoint = engine;
  options.role = "engine's administration";
  options.identity = std::move(identity).value();
  options.pin = pin.policy(m_options.ask);
  net::TlsConnector* connector = nullptr;
  {
    const std::lock_guard lock(m_mutex);
    if (m_cancelled) return ended();
    m_connector = std::make_unique<net::TlsConnector>(std::move(options));
    connector = m_connector.get();
  }
  auto transport = connector->connect();
  if (!transport.ok()) {
    const auto presented = connector->presented();
    if (pin.changed(transport.error(), presented)) return pin.changedError(*presented);
    return std::move(transport).error();
  }
  const auto fingerprint = (*transport)->peerFingerprint();
  if (!fingerprint) return Error{ErrorCode::Untrusted, "the engine showed no certificate"};
  PILLARBOX_TRY(pin.keep(*fingerprint));
  const std::lock_guard lock(m_mutex);
  m_connector.reset();
  if (m_cancelled) return ended();
  m_channel = std::make_unique<net::Channel>(std::move(transport).value());
  m_channel->setTimeout(m_options.networkTimeout);
  return {};
}

Status EngineAdmin::connect() {
  if (m_channel) throw std::logic_error("EngineAdmin::connect is for one time");
  PILLARBOX_TRY(openConnection());
  AdminRequest request;
  request.mutable_hello()->set_protocol_version(net::kProtocolVersion);
  request.mutable_hello()->set_software(net::softwareName());
  PILLARBOX_TRY(ask(request));
  return {};
}

Result<AdminReply> EngineAdmin::receive() {
  PILLARBOX_ASSIGN(AdminReply reply, net::receiveMessage<AdminReply>(*m_channel, kMaxReplyBytes));
  if (reply.has_declined()) return net::errorOf(reply.declined(), "the engine");
  return reply;
}

Status EngineAdmin::ask(const AdminRequest& request) {
  if (!m_channel) throw std::logic_error("EngineAdmin is not connected");
  PILLARBOX_TRY(net::sendMessage(*m_channel, request));
  PILLARBOX_ASSIGN(const AdminReply reply, receive());
  if (!reply.has_listing()) return outOfStep();
  return take(reply.listing());
}

Status EngineAdmin::take(const net::proto::AdminListing& listing) {
  EngineModels models;
  if (listing.protocol_version() != net::kProtocolVersion) {
    return Error{ErrorCode::Version, "the engine speaks protocol version " +
                                         std::to_string(listing.protocol_version()) +
                                         ", this program " + std::to_string(net::kProtocolVersion) +
                                         "; install the same version of Pillarbox on both sides"};
  }
  models.software = net::sanitizeForDisplay(listing.software(), 64);
  models.revision = listing.revision();
  models.maxUploadBytes = listing.max_upload_bytes();
  models.previous = isId(listing.previous()) ? listing.previous() : std::string();
  models.done = isId(listing.done()) ? listing.done() : std::string();
  for (const net::proto::AdminModel& from : listing.models()) {
    if (!isId(from.id())) return outOfStep();
    EngineModelEntry model;
    model.id = from.id();
    model.file = net::sanitizeForDisplay(from.file(), 128);
    model.name = net::sanitizeForDisplay(from.name(), 128);
    model.bytes = from.bytes();
    model.rounds = from.rounds();
    model.activations = from.activations();
    model.weights = from.weights();
    model.classes = from.classes();
    model.added = from.added();
    model.addedBy = net::sanitizeForDisplay(from.added_by(), 128);
    model.configured = from.configured();
    model.active = from.active();
    model.served = from.served();
    models.models.push_back(std::move(model));
  }
  m_models = std::move(models);
  return {};
}

Status EngineAdmin::list() {
  AdminRequest request;
  request.mutable_list();
  return ask(request);
}

Status EngineAdmin::upload(const fs::path& file,
                           const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  std::error_code error;
  if (!fs::exists(file, error)) {
    return Error{ErrorCode::NotFound, file.string() + " does not exist"};
  }
  if (!fs::is_regular_file(file, error)) {
    return Error{ErrorCode::InvalidArgument, file.string() + " is not a file"};
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return Error{ErrorCode::Io, file.string() + " cannot be opened"};
  const std::uint64_t total = fs::file_size(file, error);
  if (total > m_models.maxUploadBytes) {
    return Error{ErrorCode::Exhausted, file.string() + " has " + std::to_string(total) +
                                           " bytes; this engine takes at most " +
                                           std::to_string(m_models.maxUploadBytes)};
  }
  Sha256Stream digest;
  PILLARBOX_TRY(inPieces(stream, file, [&digest](std::span<const std::byte> bytes) -> Status {
    digest.update(bytes);
    return {};
  }));
  const auto hash = digest.finish();

  AdminRequest request;
  request.mutable_upload()->set_bytes(total);
  request.mutable_upload()->set_sha256(std::string(hash.begin(), hash.end()));
  request.mutable_upload()->set_file(file.filename().string());
  PILLARBOX_TRY(net::sendMessage(*m_channel, request));
  {
    PILLARBOX_ASSIGN(const AdminReply go, receive());
    if (!go.has_go()) return outOfStep();
  }
  std::uint64_t sent = 0;
  PILLARBOX_TRY(inPieces(stream, file, [&](std::span<const std::byte> bytes) -> Status {
    if (sent + bytes.size() > total) {
      return Error{ErrorCode::Io, file.string() + " changed while it was being sent"};
    }
    PILLARBOX_TRY(m_channel->send(net::FrameKind::Bytes, bytes));
    sent += bytes.size();
    if (progress) progress(sent, total);
    return {};
  }));
  if (sent < total) return Error{ErrorCode::Io, file.string() + " changed while it was being sent"};
  PILLARBOX_ASSIGN(const AdminReply reply, receive());
  if (!reply.has_listing()) return outOfStep();
  return take(reply.listing());
}

Status EngineAdmin::activate(const std::string& id) {
  AdminRequest request;
  request.mutable_activate()->set_id(id);
  request.mutable_activate()->set_revision(m_models.revision);
  return ask(request);
}

Status EngineAdmin::rollback() {
  AdminRequest request;
  request.mutable_rollback()->set_revision(m_models.revision);
  return ask(request);
}

Status EngineAdmin::remove(const std::string& id) {
  AdminRequest request;
  request.mutable_remove()->set_id(id);
  request.mutable_remove()->set_revision(m_models.revision);
  return ask(request);
}

}  // namespace pillarbox::client

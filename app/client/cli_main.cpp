// pillarbox-cli: private classification from a terminal or a script.
//
// Runs without a display and without Qt Widgets; Qt decodes the images.

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <numeric>
#include <optional>
#include <sstream>
#include <utility>

#include <CLI/CLI.hpp>
#include <QCoreApplication>
#include <QFile>
#include <nlohmann/json.hpp>

#include "app/client/cli_admin.h"
#include "app/client/engine_session.h"
#include "app/client/image_loader.h"
#include "app/client/image_set.h"
#include "engine/core/files.h"
#include "engine/core/hardening.h"
#include "models/preprocess.h"
#include "net/message_io.h"
#include "net/pin_store.h"
#include "net/text.h"

namespace pillarbox::client {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitUntrusted = 3;

using Json = nlohmann::ordered_json;

std::string dump(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct ConnectionFlags {
  std::string engine, model, trust, protocol, offline, dealer, trustDealer, stateDir;
  bool trustOnFirstUse = false;
  bool verbose = false;
  int sets = 2;
  int parallelSets = 0;
  unsigned threads = 0;
  std::uint64_t offlineMemoryMib = 2048;
};

int fail(const Error& error) {
  std::cerr << "pillarbox-cli: " << error.message << std::endl;
  return error.code == ErrorCode::Untrusted ? kExitUntrusted : kExitFailure;
}

/// Asks on the terminal; anything but yes refuses.
bool askPerson(const std::string& engine, const net::Fingerprint& fingerprint) {
  std::cerr << "First contact with the engine at " << engine
            << ".\nThe SHA-256 fingerprint of its certificate is\n  " << fingerprint.text()
            << "\nCompare it with what the engine's owner tells you (pillarbox-engine "
               "fingerprint).\nTrust this engine from now on? [y/N] "
            << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

Result<SessionOptions> sessionOptions(const ConnectionFlags& flags) {
  SessionOptions options;
  PILLARBOX_ASSIGN(options.engine, net::parseEndpoint(flags.engine, net::kDefaultEnginePort));
  options.model = flags.model;
  if (!flags.trust.empty()) {
    PILLARBOX_ASSIGN(options.trust, net::Fingerprint::parse(flags.trust));
  }
  if (!flags.dealer.empty()) {
    PILLARBOX_ASSIGN(options.dealer, net::parseEndpoint(flags.dealer, net::kDefaultDealerPort));
  }
  if (!flags.trustDealer.empty()) {
    PILLARBOX_ASSIGN(options.trustDealer, net::Fingerprint::parse(flags.trustDealer));
  }
  PILLARBOX_ASSIGN(options.stateDirectory, stateDirectory(flags.stateDir));
  if (const auto cache = cacheDirectory(flags.stateDir); cache.ok()) {
    options.cacheDirectory = *cache / "weights";
  }
  const std::string engine = net::toString(options.engine);
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
  if (flags.trustOnFirstUse) {
    options.ask = [engine](const net::Fingerprint& fingerprint) {
      std::cerr << "Pinned " << engine << " " << fingerprint.text() << std::endl;
      return true;
    };
  } else {
    options.ask = [engine, terminal](const net::Fingerprint& fingerprint) {
      if (terminal) return askPerson(engine, fingerprint);
      std::cerr << "The engine at " << engine
                << " is unknown; the SHA-256 fingerprint of its certificate is "
                << fingerprint.text() << "\nIf that is right, add --trust " << fingerprint.text()
                << " (or --trust-on-first-use)" << std::endl;
      return false;
    };
  }
  options.bankTarget = flags.sets;
  options.parallelSets = flags.parallelSets;
  options.offlineThreads = flags.threads;
  options.offlineMemory = flags.offlineMemoryMib << 20;
  options.protocol = offline::protocolNamed(flags.protocol).value_or(options.protocol);
  for (const auto mode :
       {offline::Mode::TwoParty, offline::Mode::Dealer, offline::Mode::FirstParty}) {
    if (flags.offline == offline::toString(mode)) options.mode = mode;
  }
  const bool verbose = flags.verbose;
  options.log = [verbose](const std::string& level, const std::string& line) {
    if (verbose || level == "error") std::cerr << level << ": " << line << std::endl;
  };
  return options;
}

void warnOf(const SessionFacts& facts) {
  if (facts.insecure) std::cerr << "WARNING: " << facts.trust << std::endl;
}

Result<std::vector<float>> pixelsOf(const QImage& image, const models::PublicModel& model) {
  const QImage rgb = image.convertToFormat(QImage::Format_RGB888);
  if (rgb.isNull()) return Error{ErrorCode::Exhausted, "there is not enough memory for the image"};
  return models::preprocess(
      models::RgbImage{rgb.constBits(), static_cast<std::uint32_t>(rgb.width()),
                       static_cast<std::uint32_t>(rgb.height()),
                       static_cast<std::size_t>(rgb.bytesPerLine())},
      model);
}

std::string labelOf(const models::PublicModel& model, std::size_t index) {
  return index < model.labels.size() ? net::sanitizeForDisplay(model.labels[index], 256)
                                     : "class " + std::to_string(index);
}

/// Indices of the classes, most probable first.
std::vector<std::size_t> ranking(const std::vector<double>& probabilities) {
  std::vector<std::size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return probabilities[a] > probabilities[b];
  });
  return order;
}

std::string megabytes(std::uint64_t bytes) {
  std::ostringstream text;
  if (bytes < 1000000) {
    text << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / 1e3 << " kB";
  } else {
    text << std::fixed << std::setprecision(2) << static_cast<double>(bytes) / 1e6 << " MB";
  }
  return text.str();
}

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

void addCosts(Json& object, const Classification& result) {
  object["rounds"] = result.rounds;
  object["bytes_sent"] = result.bytesSent;
  object["bytes_received"] = result.bytesReceived;
  object["online_ms"] = result.onlineSeconds * 1e3;
  object["offline_bytes_sent"] = result.offlineBytesSent;
  object["offline_bytes_received"] = result.offlineBytesReceived;
  object["offline_rounds"] = result.offlineRounds;
  object["offline_ms"] = result.offlineSeconds * 1e3;
  object["setup_bytes_sent"] = result.setup.bytesSent;
  object["setup_bytes_received"] = result.setup.bytesReceived;
  object["setup_ms"] = result.setup.seconds * 1e3;
  object["peak_memory_bytes"] = result.peakMemoryBytes;
}

/// What goes for every image of a session, and how many sets are left for the next ones.
void addSession(Json& object, const EngineSession& session) {
  const SessionFacts& facts = session.facts();
  object["protocol"] = offline::nameOf(facts.protocol);
  object["offline_mode"] = offline::toString(facts.mode);
  object["trust"] = facts.trust;
  object["sets_ready"] = session.bank().ready;
  if (!facts.predicted) return;
  object["offline_memory_bound_bytes"] = facts.predicted->clientMemoryBytes;
  object["offline_memory_bound_engine_bytes"] = facts.predicted->engineMemoryBytes;
}

std::string offlineText(const Classification& result) {
  return std::to_string(result.offlineRounds) + " rounds, " + megabytes(result.offlineBytesSent) +
         " sent, " + megabytes(result.offlineBytesReceived) + " received, " +
         fixed(result.offlineSeconds, 2) + " s";
}

/// What does not belong to one image.
std::string sessionText(const SessionFacts& facts, const Classification& result) {
  std::string text = facts.trust +
                     (facts.protocol == offline::Protocol::HoneyBadger
                          ? std::string()
                          : std::string("\nactivations by ") + offline::toString(facts.protocol)) +
                     "\nonce for the session: " + megabytes(result.setup.bytesSent) + " sent, " +
                     megabytes(result.setup.bytesReceived) + " received, " +
                     fixed(result.setup.seconds, 2) + " s; peak memory of this program " +
                     megabytes(result.peakMemoryBytes);
  if (facts.predicted) {
    text += "; a set in the making takes at most " + megabytes(facts.predicted->clientMemoryBytes) +
            " here and " + megabytes(facts.predicted->engineMemoryBytes) + " at the engine";
  }
  return text;
}

std::string bankText(const BankReading& bank) {
  std::string text = std::to_string(bank.ready) + " of " + std::to_string(bank.target) +
                     (bank.target == 1 ? " set ready" : " sets ready");
  if (bank.preparing >= 0) text += ", next at " + fixed(100 * bank.preparing, 0) + "%";
  return text;
}

/// How far the sets are, on stderr where that is a terminal, while an image waits for one.
class BankLine {
 public:
  BankLine() : m_terminal(::isatty(STDERR_FILENO) == 1) {}
  void wait(bool waiting) {
    const std::lock_guard lock(m_mutex);
    m_waiting = waiting && m_terminal;
    if (!m_waiting && std::exchange(m_shown, false)) std::cerr << "\r\033[K" << std::flush;
  }
  void show(const BankReading& bank) {
    const std::lock_guard lock(m_mutex);
    const auto now = std::chrono::steady_clock::now();
    if (!m_waiting || now - m_last < std::chrono::milliseconds(100)) return;
    m_last = now;
    m_shown = true;
    std::cerr << "\r\033[K" << bankText(bank) << std::flush;
  }

 private:
  const bool m_terminal;
  std::mutex m_mutex;  ///< sets are made on threads of their own
  bool m_waiting = false, m_shown = false;
  std::chrono::steady_clock::time_point m_last{};
};

int classify(const ConnectionFlags& flags, const std::vector<std::string>& images, int top,
             bool json) {
  auto options = sessionOptions(flags);
  if (!options.ok()) return fail(options.error());
  BankLine line;
  options->onBank = [&line](const BankReading& bank) { line.show(bank); };
  EngineSession session(std::move(options).value());
  if (const Status status = session.connect(); !status.ok()) return fail(status.error());
  const models::PublicModel& model = *session.facts().model;
  warnOf(session.facts());
  session.limitSets(images.size());

  int exitCode = kExitOk;
  std::optional<Classification> last;
  for (const std::string& file : images) {
    const auto image = loadImage(QFile::decodeName(file.c_str()));
    if (!image.ok()) {
      exitCode = fail({image.error().code, file + ": " + image.error().message});
      continue;
    }
    const auto pixels = pixelsOf(*image, model);
    if (!pixels.ok()) {
      exitCode = fail({pixels.error().code, file + ": " + pixels.error().message});
      continue;
    }
    line.wait(true);
    const auto result = session.classify(*pixels);
    line.wait(false);
    if (!result.ok()) return fail(result.error());
    if (!result->warning.empty())
      std::cerr << "WARNING: " << file << ": " << result->warning << "\n";
    const auto order = ranking(result->probabilities);
    const std::size_t listed = std::min<std::size_t>(order.size(), static_cast<std::size_t>(top));
    if (json) {
      Json object;
      object["image"] = file;
      object["class"] = labelOf(model, order.front());
      object["top"] = Json::array();
      for (std::size_t i = 0; i < listed; ++i) {
        Json entry;
        entry["class"] = labelOf(model, order[i]);
        entry["probability"] = result->probabilities[order[i]];
        object["top"].push_back(std::move(entry));
      }
      addSession(object, session);
      addCosts(object, *result);
      std::cout << dump(object) << std::endl;
      continue;
    }
    last = *result;
    std::cout << net::sanitizeForDisplay(file, 4096) << ": " << labelOf(model, order.front()) << " "
              << fixed(100 * result->probabilities[order.front()], 1) << "% (" << result->rounds
              << " rounds, " << megabytes(result->bytesSent) << " sent, "
              << megabytes(result->bytesReceived) << " received, "
              << fixed(1e3 * result->onlineSeconds, 1) << " ms; before that, offline, "
              << offlineText(*result) << ")";
    for (std::size_t i = 1; i < listed; ++i) {
      std::cout << (i == 1 ? "; then " : ", ") << labelOf(model, order[i]) << " "
                << fixed(100 * result->probabilities[order[i]], 1) << "%";
    }
    std::cout << std::endl;
  }
  if (last) std::cout << sessionText(session.facts(), *last) << std::endl;
  return exitCode;
}

/// A bar on stderr where that is a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::size_t total) : m_total(total), m_terminal(::isatty(STDERR_FILENO)) {}
  ~ProgressBar() { clear(); }

  void show(std::size_t done, std::size_t correct, const BankReading& bank) {
    const auto now = std::chrono::steady_clock::now();
    if (!m_terminal || (done < m_total && now - m_last < std::chrono::milliseconds(100))) return;
    m_last = now;
    winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    const int columns = known ? size.ws_col : 80;
    const double seconds = std::chrono::duration<double>(now - m_start).count();
    const double left =
        done == 0 ? 0 : seconds / static_cast<double>(done) * static_cast<double>(m_total - done);
    std::string text = " " + std::to_string(done) + "/" + std::to_string(m_total);
    if (done > 0) {
      text += "  " + fixed(100.0 * static_cast<double>(correct) / static_cast<double>(done), 1) +
              "% right";
    }
    text += "  " + std::to_string(static_cast<int>(left + 0.5)) + " s left  " + bankText(bank);
    const int width = std::clamp(columns - static_cast<int>(text.size()) - 3, 0, 60);
    const int filled = static_cast<int>(static_cast<double>(width) * static_cast<double>(done) /
                                        static_cast<double>(std::max<std::size_t>(m_total, 1)));
    std::cerr << "\r\033[K[" << std::string(static_cast<std::size_t>(filled), '#')
              << std::string(static_cast<std::size_t>(width - filled), '.') << "]" << text
              << std::flush;
  }
  void clear() {
    if (m_terminal) std::cerr << "\r\033[K" << std::flush;
  }

 private:
  const std::size_t m_total;
  const bool m_terminal;
  const std::chrono::steady_clock::time_point m_start = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point m_last{};
};

int evaluate(const ConnectionFlags& flags, const std::string& source, const std::string& split,
             std::size_t limit, bool json) {
  auto options = sessionOptions(flags);
  if (!options.ok()) return fail(options.error());
  EngineSession session(std::move(options).value());
  if (const Status status = session.connect(); !status.ok()) return fail(status.error());
  const models::PublicModel& model = *session.facts().model;
  warnOf(session.facts());

  const auto set = ImageSet::open(source, split, model.labels);
  if (!set.ok()) return fail(set.error());
  std::size_t count = set->images().size();
  if (limit > 0) count = std::min(count, limit);
  session.limitSets(count);

  Classification total;
  std::size_t correct = 0;
  {
    ProgressBar bar(count);
    for (std::size_t i = 0; i < count; ++i) {
      bar.show(i, correct, session.bank());
      const LabelledImage& labelled = set->images()[i];
      const auto work = [&]() -> Result<Classification> {
        PILLARBOX_ASSIGN(const QByteArray bytes, set->read(labelled));
        PILLARBOX_ASSIGN(const QImage image,
                         loadImageData(bytes, QString::fromStdString(labelled.name)));
        PILLARBOX_ASSIGN(const std::vector<float> pixels, pixelsOf(image, model));
        return session.classify(pixels);
      };
      const auto result = work();
      if (!result.ok()) {
        bar.clear();
        return fail({result.error().code, labelled.name + ": " + result.error().message});
      }
      if (!result->warning.empty()) {
        bar.clear();
        std::cerr << "WARNING: " << labelled.name << ": " << result->warning << "\n";
      }
      if (ranking(result->probabilities).front() == labelled.label) ++correct;
      total.rounds += result->rounds;
      total.bytesSent += result->bytesSent;
      total.bytesReceived += result->bytesReceived;
      total.onlineSeconds += result->onlineSeconds;
      total.offlineBytesSent += result->offlineBytesSent;
      total.offlineBytesReceived += result->offlineBytesReceived;
      total.offlineSeconds += result->offlineSeconds;
      total.offlineRounds += result->offlineRounds;
      total.setup = result->setup;
      total.peakMemoryBytes = result->peakMemoryBytes;
    }
    bar.show(count, correct, session.bank());
  }
  const double accuracy = static_cast<double>(correct) / static_cast<double>(count);
  if (json) {
    Json object;
    object["images"] = count;
    object["correct"] = correct;
    object["accuracy"] = accuracy;
    addSession(object, session);
    addCosts(object, total);
    std::cout << dump(object) << std::endl;
    return kExitOk;
  }
  std::cout << correct << " of " << count << " right (" << fixed(100 * accuracy, 2) << "%)\n"
            << "online:  " << total.rounds << " rounds, " << megabytes(total.bytesSent) << " sent, "
            << megabytes(total.bytesReceived) << " received, " << fixed(total.onlineSeconds, 2)
            << " s (" << fixed(1e3 * total.onlineSeconds / static_cast<double>(count), 1)
            << " ms an image)\n"
            << "offline: " << offlineText(total) << "\n"
            << sessionText(session.facts(), total) << std::endl;
  return kExitOk;
}

int listPins(const std::string& stateDir) {
  const auto directory = stateDirectory(stateDir);
  if (!directory.ok()) return fail(directory.error());
  const auto pins = net::PinStore(*directory).list();
  if (!pins.ok()) return fail(pins.error());
  for (const net::Pin& pin : *pins) {
    std::cout << toString(pin.kind) << " " << net::toString(net::Endpoint{pin.host, pin.port})
              << " " << pin.fingerprint.text() << "\n";
  }
  return kExitOk;
}

int removePin(const std::string& stateDir, const std::string& address, bool dealer) {
  const auto directory = stateDirectory(stateDir);
  if (!directory.ok()) return fail(directory.error());
  const auto endpoint =
      net::parseEndpoint(address, dealer ? net::kDefaultDealerPort : net::kDefaultEnginePort);
  if (!endpoint.ok()) return fail(endpoint.error());
  const auto removed = net::PinStore(*directory)
                           .remove(dealer ? net::PinKind::Dealer : net::PinKind::Engine,
                                   endpoint->host, endpoint->port);
  if (!removed.ok()) return fail(removed.error());
  if (!*removed) {
    return fail({ErrorCode::NotFound, "nothing is pinned for the " +
                                          std::string(dealer ? "dealer" : "engine") + " at " +
                                          net::toString(*endpoint)});
  }
  return kExitOk;
}

void addConnectionFlags(CLI::App& command, ConnectionFlags& flags) {
  command.add_option("--engine", flags.engine, "The engine")->required()->type_name("HOST:PORT");
  command.add_option("--model", flags.model, "Model of the engine (default: its first)")
      ->type_name("NAME");
  auto* trust = command.add_option("--trust", flags.trust,
                                   "Fingerprint that the engine's certificate must have; pinned");
  trust->type_name("SHA256");
  command
      .add_flag("--trust-on-first-use", flags.trustOnFirstUse,
                "Pin an unknown engine's certificate without asking")
      ->excludes(trust);
  command.add_option("--dealer", flags.dealer, "Dealer to use instead of the one the engine names")
      ->type_name("HOST:PORT");
  command
      .add_option("--trust-dealer", flags.trustDealer,
                  "Fingerprint that the dealer's certificate must have (default: as the engine "
                  "vouches for it)")
      ->type_name("SHA256");
  command
      .add_option(
          "--protocol", flags.protocol,
          "How activations are evaluated (default: honeybadger, the fastest; the others are "
          "for comparison)")
      ->check(CLI::IsMember(offline::protocolNames()));
  command
      .add_option("--offline", flags.offline,
                  "Go on only with an engine that prepares its correlations so: two-party, dealer "
                  "or first-party (default: as the engine does; who is trusted is said)")
      ->check(CLI::IsMember({"two-party", "dealer", "first-party"}));
  command
      .add_option("--parallel-sets", flags.parallelSets,
                  "Sets made at a time in two-party mode (0: two, or one if the engine is here)")
      ->check(CLI::Range(0, 4))
      ->capture_default_str();
  command
      .add_option("--threads", flags.threads,
                  "Processors that making a set may use in two-party mode (0: all)")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command
      .add_option(
          "--offline-memory", flags.offlineMemoryMib,
          "MiB that the sets being made at a time may take; a model that needs more for one "
          "is refused")
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  command.add_option("--sets", flags.sets, "Correlation sets to keep ready")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command.add_option("--state-dir", flags.stateDir, "Folder of pins and caches")->type_name("DIR");
  command.add_flag("--verbose", flags.verbose, "Say on stderr what goes on");
}

int run(int argc, char** argv) {
  CLI::App app("Pillarbox: classifies images on an engine that does not see them.",
               "pillarbox-cli");
  app.set_version_flag("--version", net::softwareName());
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed (the reason is one sentence on stderr), 2 wrong usage, 3 the "
      "engine's or dealer's certificate is unknown or has changed.");

  ConnectionFlags flags;
  std::vector<std::string> images;
  std::string source, split = "test", address;
  int top = 1;
  std::size_t limit = 0;
  bool json = false, dealer = false;

  CLI::App& classifyCommand = *app.add_subcommand("classify", "Classify images");
  addConnectionFlags(classifyCommand, flags);
  CLI::Option* topOption = classifyCommand.add_option("--top", top, "Classes to list");
  topOption->check(CLI::Range(1, 16384));
  classifyCommand.add_flag("--json", json, "One JSON object a line, one an image");
  classifyCommand.add_option("IMAGE", images, "Image files")->required();

  CLI::App& evaluateCommand =
      *app.add_subcommand("evaluate", "Measure the accuracy on labelled images");
  addConnectionFlags(evaluateCommand, flags);
  evaluateCommand
      .add_option("--images", source, "Folder or zip of class/file or split/class/file images")
      ->required()
      ->type_name("DIR|ZIP");
  evaluateCommand.add_option("--split", split, "Which split, where there are splits")
      ->capture_default_str();
  evaluateCommand
      .add_option("--limit", limit,
                  "Only the first N, taken from the classes in turn (default: all)")
      ->type_name("N");
  evaluateCommand.add_flag("--json", json, "End with one JSON object");

  std::string stateDir;
  CLI::App& trustCommand = *app.add_subcommand("trust", "Pinned certificates");
  trustCommand.require_subcommand(1);
  CLI::App& listCommand = *trustCommand.add_subcommand("list", "List the pins");
  listCommand.add_option("--state-dir", stateDir, "Folder of the pins")->type_name("DIR");
  CLI::App& removeCommand = *trustCommand.add_subcommand(
      "remove", "Forget a pin; the next contact is a first contact again");
  removeCommand.add_option("--state-dir", stateDir, "Folder of the pins")->type_name("DIR");
  removeCommand.add_flag("--dealer", dealer, "The pin of a dealer");
  removeCommand.add_option("ADDRESS", address, "HOST:PORT")->required();

  AdminCommands admin(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (admin.parsed()) {
    const Status status = admin.run();
    return status.ok() ? kExitOk : fail(status.error());
  }
  if (listCommand.parsed()) return listPins(stateDir);
  if (removeCommand.parsed()) return removePin(stateDir, address, dealer);
  if (evaluateCommand.parsed()) return evaluate(flags, source, split, limit, json);
  if (json && topOption->count() == 0) top = 5;
  return classify(flags, images, top, json);
}

}  // namespace
}  // namespace pillarbox::client

int main(int argc, char** argv) {
  pillarbox::hardenProcess();
  // For Qt's plugins (image formats); no display is touched.
  const QCoreApplication application(argc, argv);
  try {
    return pillarbox::client::run(argc, argv);
  } catch (const std::exception& exception) {
    std::cerr << "pillarbox-cli: " << exception.what() << std::endl;
    return pillarbox::client::kExitFailure;
  }
}

// pillarbox-train: trains polynomial networks and writes model files.
//
// Results go to stdout (one JSON object a line with --json), everything else to stderr. Exit codes:
// 0 done, 1 failed, 2 wrong usage, 3 stopped on request (the run can be resumed).
//
// For programs that start it: `train` and `resume` with --json print events, each an object with
// the key "event", flushed line by line. Ratios are 0 to 1; a number that is not finite is the
// string "infinite".
//
//   reading     files decoded so far and in all: done, files (not where they come from the cache)
//   data        train_images, test_images, classes (names), class_counts (training images of
//               each), imbalance (the largest class over the smallest), split_made (there was no
//               test split, a fifth was set aside), skipped_files (a number), skipped (path and
//               reason of the first hundred)
//   start       of a new run: network, parameters, activations, multiply_adds, rounds, epochs,
//               steps_per_epoch, range (B), train_images, test_images, mean, std, device, threads,
//               processes
//   resume      instead of start where a checkpoint is continued: epoch, step, epochs,
//               steps_per_epoch, range
//   progress    twice a second at most: epoch (from 1), epochs, done (of the whole run), loss,
//               accuracy (of the epoch so far), images_per_second, seconds_left
//   epoch       epoch, loss, penalty, accuracy (training), images_per_second, seconds, layers (in
//               training: name, out_of_range, largest), polynomial_layers, polynomials (where
//               layers have their own: coefficients, range), escape (where test images were lost:
//               the first layer that left its range, and its largest input) and test: images, loss,
//               accuracy, top5, lost_images and lost_ratio (without clipping), out_of_range,
//               class_accuracy (null where a class has no test images), confusion ([true][answer]),
//               layers: name, out_of_range, largest, histogram (counts of a sample of the inputs in
//               60 equal bins over [-1.5 B, 1.5 B]; the outermost ones also hold what lies beyond)
//   checkpoint  name ("last" or "best"), epoch (finished ones), step
//   recovery    epoch, reason, rate_scale, resumed_epoch, resumed_step
//   paused, continued, stopped      epoch, step
//   finished    epochs, seconds, accuracy
//   error       message; exit code 1 or 2 follows
//
// `download NAME --json` prints progress (bytes, bytes_in_all) and finished (folder).
// `classify RUN IMAGE --json` prints classes, probabilities (none where the values are not finite),
// lost (whether they ran away) and largest; `list-presets --json` name, summary and settings of
// each preset.
//
// All but reading, data, progress, checkpoint and error are in the run's log.jsonl too, with the
// time.
//
// With --control the process reads commands from stdin, one a line: "pause" (writes a checkpoint
// and waits, computing nothing), "resume" and "stop" (writes a checkpoint and exits with 3). The
// end of stdin means stop, so that a run does not outlive the program that looks after it. Signals
// do the same anywhere: SIGUSR1 pauses, SIGUSR2 resumes, SIGINT and SIGTERM stop; a second one of
// these exits at once, with what the last checkpoint holds. Training answers between two batches.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "models/data/download.h"
#include "models/data/readers.h"
#include "models/onnx_reader.h"
#include "models/pillar/fit_report.h"
#include "models/preprocess.h"
#include "models/training/export.h"
#include "models/training/group.h"
#include "models/training/model_report.h"
#include "models/training/onnx_import.h"
#include "models/training/run_folder.h"
#include "models/training/trainer.h"

namespace {

using namespace pillarbox;
using namespace pillarbox::training;
namespace fs = std::filesystem;
using nlohmann::json;

std::atomic<bool> g_stop{false};
std::atomic<bool> g_pause{false};
bool g_json = false;

void onSignal(int number) {
  if (number == SIGUSR1) {
    g_pause = true;
  } else if (number == SIGUSR2) {
    g_pause = false;
  } else if (g_stop.exchange(true)) {
    std::_Exit(3);  // asked twice: do not even save
  }
}

// Reads commands from stdin until it ends. The thread is left behind when the process exits.
void obeyStdin() {
  std::thread([] {
    for (std::string line; std::getline(std::cin, line);) {
      if (line == "pause") {
        g_pause = true;
      } else if (line == "resume") {
        g_pause = false;
      } else if (line == "stop") {
        break;
      } else {
        std::cerr << "pillarbox-train: unknown command \"" << line
                  << "\"; known are pause, resume and stop\n";
      }
    }
    g_stop = true;
  }).detach();
}

void print(const json& value) {
  std::cout << value.dump() << std::endl;
}

int fail(const Error& error) {
  if (g_json) print({{"event", "error"}, {"message", error.message}});
  std::cerr << "pillarbox-train: " << error.message << "\n";
  return error.code == ErrorCode::InvalidArgument ? 2 : 1;
}

std::string duration(double seconds) {
  const auto total = static_cast<long>(seconds);
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%ld h %02ld min", total / 3600, total / 60 % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld min %02ld s", total / 60, total % 60);
  }
  return text;
}

// "[=====>              ]", for a terminal.
std::string bar(double done) {
  constexpr int kWidth = 20;
  const int full = std::clamp(static_cast<int>(std::lround(kWidth * done)), 0, kWidth);
  std::string text(static_cast<std::size_t>(full), '=');
  if (full < kWidth) text += '>';
  text.resize(kWidth, ' ');
  return "[" + text + "]";
}

// What fits one line of the terminal, which could not be redrawn otherwise: a bar and a text, or
// the text alone.
std::string fitting(double done, const std::string& text) {
  winsize size{};
  const bool known = ::ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const std::size_t columns = known ? size.ws_col : 80;
  const std::string whole = bar(done) + " " + text;
  return whole.size() < columns ? whole : text.substr(0, columns - 1);
}

// One line that is redrawn on a terminal; a line a minute elsewhere.
class ProgressLine {
 public:
  void show(const Progress& p) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "epoch %d/%d  %3.0f%%  loss %.3f  accuracy %.1f%%  %.0f images/s", p.epoch,
                  p.epochs, 100 * p.done, p.loss, 100 * p.accuracy, p.imagesPerSecond);
    const std::string line = std::string(text) + "  " + duration(p.secondsLeft) + " left";
    if (m_terminal) {
      std::cerr << "\r\x1b[K" << fitting(p.done, line) << std::flush;
      m_open = true;
    } else if (const auto now = std::chrono::steady_clock::now(); now >= m_next) {
      std::cerr << line << "\n";
      m_next = now + std::chrono::minutes(1);
    }
  }
  void end() {
    if (m_open) std::cerr << "\r\x1b[K" << std::flush;
    m_open = false;
  }

 private:
  bool m_terminal = ::isatty(2) != 0;
  bool m_open = false;
  std::chrono::steady_clock::time_point m_next;
};

std::string percent(double ratio, int digits = 2) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f%%", digits, 100 * ratio);
  return text;
}

void printEvaluation(const json& e) {
  std::cout << "accuracy " << percent(e["accuracy"]) << ", top five " << percent(e["top5"])
            << " on " << e["images"] << " images; out of range " << percent(e["out_of_range"], 4)
            << ", lost images " << e["lost_images"] << "\n";
  for (const auto& layer : e["layers"]) {
    std::cout << "  " << layer["name"].get<std::string>() << ": out of range "
              << percent(layer["out_of_range"], 4) << ", largest |x| ";
    if (layer["largest"].is_number()) {
      char text[32];
      std::snprintf(text, sizeof text, "%.2f", layer["largest"].get<double>());
      std::cout << text << "\n";
    } else {
      std::cout << "not finite\n";
    }
  }
  std::cout << std::flush;
}

// Training images of the smallest and of the largest class.
std::pair<std::uint64_t, std::uint64_t> classSizes(const data::Dataset& dataset) {
  std::vector<std::uint64_t> counts(dataset.classes.size(), 0);
  for (const auto label : dataset.train.labels) ++counts[label];
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  return {*least, *most};
}

Result<data::Dataset> readData(const std::vector<std::string>& paths, std::uint32_t size,
                               bool trainToo) {
  std::vector<fs::path> list(paths.begin(), paths.end());
  const bool terminal = ::isatty(2) != 0;
  auto next = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  bool shown = false;
  data::ReadOptions options;
  options.size = size;
  options.trainToo = trainToo;
  options.cacheFolder = data::defaultImageCache();
  options.progress = [&](std::size_t done, std::size_t all) {
    const auto now = std::chrono::steady_clock::now();
    if (now < next) return;
    next = now + std::chrono::milliseconds(500);
    if (g_json) print({{"event", "reading"}, {"done", done}, {"files", all}});
    if (terminal)
      std::cerr << "\r\x1b[K" << bar(static_cast<double>(done) / static_cast<double>(all))
                << " reading " << done << " of " << all << " files" << std::flush;
    shown = terminal;
  };
  auto dataset = data::readDataset(list, options);
  if (shown) std::cerr << "\r\x1b[K" << std::flush;
  if (!dataset.ok()) return dataset;
  if (trainToo) std::cerr << dataset->train.count() << " training and ";
  std::cerr << dataset->test.count() << " test images in " << dataset->classes.size() << " classes";
  if (dataset->splitMade) std::cerr << " (a fifth of each class set aside as test images)";
  if (trainToo) {
    const auto [least, most] = classSizes(*dataset);
    if (most > 2 * least) {
      std::cerr << "; unbalanced: " << least << " to " << most
                << " training images a class (--class-weights makes up for it)";
    }
  }
  if (!dataset->skipped.empty()) {
    std::cerr << "; skipped " << dataset->skipped.size() << " files:";
    for (std::size_t i = 0; i < std::min<std::size_t>(5, dataset->skipped.size()); ++i) {
      std::cerr << "\n  " << dataset->skipped[i].path << ": " << dataset->skipped[i].reason;
    }
    if (dataset->skipped.size() > 5) std::cerr << "\n  ...";
  }
  std::cerr << "\n";
  return dataset;
}

void printData(const data::Dataset& dataset) {
  std::vector<std::uint64_t> counts(dataset.classes.size(), 0);
  for (const auto label : dataset.train.labels) ++counts[label];
  const auto [least, most] = classSizes(dataset);
  json skipped = json::array();
  for (const auto& file : dataset.skipped) {
    if (skipped.size() < 100) skipped.push_back({{"path", file.path}, {"reason", file.reason}});
  }
  print({{"event", "data"},
         {"train_images", dataset.train.count()},
         {"test_images", dataset.test.count()},
         {"classes", dataset.classes},
         {"class_counts", counts},
         {"imbalance", least == 0 ? json("infinite")
                                  : json(static_cast<double>(most) / static_cast<double>(least))},
         {"split_made", dataset.splitMade},
         {"skipped_files", dataset.skipped.size()},
         {"skipped", skipped}});
}

// Holds a run folder's lock while training: two writers would mix their checkpoints.
class RunLock {
 public:
  static Result<RunLock> take(const fs::path& folder) {
    const int file = ::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return Error{ErrorCode::Io, "Cannot write to " + folder.string() + "."};
    if (::lockf(file, F_TLOCK, 0) != 0) {
      ::close(file);
      return Error{ErrorCode::Refused, "Another process is training in " + folder.string() + "."};
    }
    return RunLock(file);
  }
  RunLock(RunLock&& other) noexcept : m_file(std::exchange(other.m_file, -1)) {}
  ~RunLock() {
    if (m_file >= 0) ::close(m_file);
  }

 private:
  explicit RunLock(int file) : m_file(file) {}
  int m_file;
};

struct TrainArguments {
  TrainingConfig config;
  std::string out;
  std::string activation = "polynomial";
  int stopAfter = 0;
  bool control = false;
  GroupOptions group;

  bool leads() const { return group.rank == 0; }
};

// Where torchrun says that processes meet, unless the command line does.
void completeRendezvous(GroupOptions& group, bool given) {
  const char* host = std::getenv("MASTER_ADDR");
  const char* port = std::getenv("MASTER_PORT");
  if (!given && host && *host && port && *port) group.rendezvous = std::string(host) + ":" + port;
}

// Joins the other processes, if there are any. A follower gets its run's
// settings from the leader.
Result<std::unique_ptr<Group>> joinGroup(const TrainArguments& args,
                                         std::optional<RunFolder>& run) {
  if (args.group.size == 1 && run) return std::unique_ptr<Group>();
  PILLARBOX_ASSIGN(const torch::Device device,
                   chooseDevice(run ? run->config().device : args.config.device));
  std::cerr << "process " << args.group.rank << " of " << args.group.size << " at "
            << args.group.rendezvous << "\n";
  PILLARBOX_ASSIGN(auto group, Group::join(args.group, device));
  if (args.leads()) {
    group->broadcast(toJson(run->config()).dump());
  } else {
    PILLARBOX_ASSIGN(TrainingConfig config,
                     configFromJson(json::parse(group->broadcast(std::string()))));
    if (!args.config.data.empty()) config.data = args.config.data;
    run = RunFolder::follower(config);
  }
  return group;
}

// Removes a run that failed before there was anything to resume, so that the same command can be
// given again.
void discardIfUnstarted(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / "last.pt", error)) return;
  for (const char* name : {"config.json", "data.json", "skipped.txt", "log.jsonl", "lock"}) {
    fs::remove(folder / name, error);
  }
  fs::remove(folder, error);  // unless there is something else in it
}

// Without a run: a process that follows another one.
int runTraining(std::optional<RunFolder> existing, const TrainArguments& args) {
  std::optional<RunLock> lock;
  if (existing) {
    auto taken = RunLock::take(existing->path());
    if (!taken.ok()) return fail(taken.error());
    lock.emplace(std::move(taken).value());
  }
  auto group = joinGroup(args, existing);
  if (!group.ok()) return fail(group.error());
  RunFolder& run = *existing;
  // The run's log keeps why it failed, for whoever looks at the folder later.
  const auto failRun = [&](const Error& error) {
    if (args.leads()) (void)run.log({{"event", "error"}, {"message", error.message}});
    return fail(error);
  };
  const auto dataset = readData(run.config().data, run.config().imageSize, true);
  if (!dataset.ok()) return failRun(dataset.error());
  if (g_json && args.leads()) printData(*dataset);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) std::signal(number, onSignal);
  std::signal(SIGPIPE, SIG_IGN);  // who read the events is gone; the run's folder has them too
  if (args.control) obeyStdin();
  ProgressLine line;
  TrainCallbacks callbacks;
  callbacks.stop = &g_stop;
  callbacks.pause = &g_pause;
  callbacks.stopAfterEpoch = args.stopAfter;
  callbacks.progress = [&](const Progress& p) {
    if (!g_json) return line.show(p);
    print({{"event", "progress"},
           {"epoch", p.epoch},
           {"epochs", p.epochs},
           {"done", p.done},
           {"loss", p.loss},
           {"accuracy", p.accuracy},
           {"images_per_second", p.imagesPerSecond},
           {"seconds_left", p.secondsLeft}});
  };
  callbacks.event = [&](const json& event) {
    line.end();
    if (g_json) return print(event);
    const std::string kind = event["event"];
    if (kind == "epoch") {
      std::cout << "epoch " << event["epoch"] << ": loss " << event["loss"].get<double>()
                << ", penalty " << event["penalty"].get<double>() << ", training accuracy "
                << percent(event["accuracy"]) << "\n  test: ";
      printEvaluation(event["test"]);
    } else if (kind == "recovery") {
      std::cout << "recovered from a divergence in epoch " << event["epoch"] << ": "
                << event["reason"].get<std::string>() << "; the learning rate is now "
                << event["rate_scale"] << " of the schedule's\n"
                << std::flush;
    } else if (kind == "paused" || kind == "continued") {
      std::cerr << kind << "\n";
    } else if (kind == "finished") {
      std::cout << "finished after " << duration(event["seconds"]) << ": test accuracy "
                << percent(event["accuracy"]) << "\n"
                << std::flush;
    }
  };
  const auto outcome = train(run, *dataset, callbacks, group->get());
  line.end();
  if (!outcome.ok()) return failRun(outcome.error());
  if (*outcome == TrainOutcome::Stopped) {
    if (args.leads()) {
      std::cerr << "stopped; continue with: pillarbox-train resume " << run.path().string() << "\n";
    }
    return 3;
  }
  return 0;
}

int trainCommand(TrainArguments& args, bool networkGiven, bool penaltyRangeGiven,
                 bool imageSizeGiven) {
  TrainingConfig& config = args.config;
  for (const auto& info : architectures::architectureList()) {
    if (info.name != config.network) continue;
    if (!penaltyRangeGiven) config.penaltyRange = info.penaltyRange;
    if (!imageSizeGiven) config.imageSize = info.inputSize;
  }
  config.activation = args.activation == "relu" ? ActivationKind::Relu : ActivationKind::Polynomial;
  for (auto& path : config.data) {
    std::error_code error;
    path = fs::absolute(path, error).string();
  }
  for (std::string* path : {&config.from, &config.teacher}) {
    std::error_code error;
    if (!path->empty()) *path = fs::absolute(*path, error).string();
  }
  if (!args.leads()) return runTraining(std::nullopt, args);
  if (args.out.empty()) {
    return fail({ErrorCode::InvalidArgument, "--out is missing: the folder of the run."});
  }
  if (config.tuneCoefficients && config.from.empty()) {
    return fail({ErrorCode::InvalidArgument,
                 "Polynomials can be fitted to the inputs of a trained network only: give its run, "
                 "or its ONNX file, with --from."});
  }
  if (fs::path(config.from).extension() == ".onnx") {
    const auto imported = importOnnx(config.from);
    if (!imported.ok()) return fail(imported.error());
    const std::uint32_t size = imported->architecture.input.height;
    if (networkGiven || (imageSizeGiven && config.imageSize != size)) {
      return fail(
          {ErrorCode::InvalidArgument, "The network and its image size (" + std::to_string(size) +
                                           ") are those of the ONNX file; leave out --network and "
                                           "--image-size."});
    }
    config.network = imported->architecture.name;
    config.architecture = toJson(imported->architecture);
    config.imageSize = size;
  }
  // Names and sizes are checked before a folder is made.
  const auto architecture = architectureOf(config, 10);
  if (!architecture.ok()) {
    fail(architecture.error());
    return 2;
  }
  auto run = RunFolder::create(args.out, config);
  if (!run.ok()) return fail(run.error());
  const int code = runTraining(std::move(run).value(), args);
  if (code != 0) discardIfUnstarted(args.out);
  return code;
}

int resumeCommand(const std::string& folder, const TrainArguments& args, int epochs) {
  if (!args.leads()) return runTraining(std::nullopt, args);
  auto run = RunFolder::open(folder);
  if (!run.ok()) return fail(run.error());
  if (epochs > 0) {
    const Status extended = run->setEpochs(epochs);
    if (!extended.ok()) return fail(extended.error());
  }
  return runTraining(std::move(run).value(), args);
}

int evaluateCommand(const std::string& folder, const std::string& checkpoint,
                    std::vector<std::string> paths, bool clip, bool asJson) {
  const auto run = RunFolder::open(folder);
  if (!run.ok()) return fail(run.error());
  const auto facts = run->loadData();
  if (!facts.ok()) return fail(facts.error());
  if (paths.empty()) paths = run->config().data;
  const auto dataset = readData(paths, run->config().imageSize, false);
  if (!dataset.ok()) return fail(dataset.error());
  if (dataset->classes != facts->classes) {
    return fail({ErrorCode::InvalidArgument, "The data has other classes than the run."});
  }
  prepareLibTorch(run->config());
  const auto device = chooseDevice(run->config().device);
  if (!device.ok()) return fail(device.error());
  const int classes = static_cast<int>(facts->classes.size());
  auto network = makeNetwork(run->config(), classes);
  auto average = makeNetwork(run->config(), classes);
  if (!network.ok()) return fail(network.error());
  CheckpointParts parts{*network, *average, nullptr, {}};
  (*network)->to(*device);
  (*average)->to(*device);
  const Status loaded = run->loadCheckpoint(checkpoint, parts);
  if (!loaded.ok()) return fail(loaded.error());
  const json result = toJson(evaluate(*average, dataset->test, facts->normalisation, clip));
  asJson ? print(result) : printEvaluation(result);
  return 0;
}

// One picture through a run's network in the clear, without clipping, as the app prepares it.
int classifyCommand(const std::string& folder, const std::string& checkpoint,
                    const std::string& file, bool asJson) {
  auto trained = loadTrained((fs::path(folder) / (checkpoint + ".pt")).string());
  if (!trained.ok()) return fail(trained.error());
  std::ifstream stream(file, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return fail({ErrorCode::Io, file + " cannot be read."});
  const auto image = data::decodeImage(std::as_bytes(std::span(bytes)));
  if (!image.ok()) return fail({image.error().code, file + ": " + image.error().message});
  const auto& facts = trained->facts;
  const models::Shape shape = trained->network->architecture().input;
  auto input = models::preprocess(
      {image->pixels.data(), image->width, image->height, std::size_t{3} * image->width}, shape,
      facts.normalisation.mean, facts.normalisation.std);
  if (!input.ok()) return fail(input.error());
  const torch::NoGradGuard guard;
  std::vector<float> largest;
  ForwardOptions options;
  options.largestPerImage = &largest;
  const torch::Tensor pixels =
      torch::from_blob(input->data(), {1, shape.channels, shape.height, shape.width});
  const torch::Tensor scores = trained->network->forward(pixels, options).logits.contiguous();
  const bool finite = torch::isfinite(scores).all().item<bool>();
  const bool lost = !finite || !(largest.front() <= escapeBound(trained->network));
  json probabilities = json::array();
  const torch::Tensor softmax = torch::softmax(scores, 1);
  for (std::int64_t c = 0; finite && c < softmax.size(1); ++c) {
    probabilities.push_back(softmax[0][c].item<double>());
  }
  if (asJson) {
    print({{"classes", facts.classes},
           {"probabilities", probabilities},
           {"lost", lost},
           {"largest", std::isfinite(largest.front()) ? json(largest.front()) : json("infinite")}});
    return 0;
  }
  if (lost) std::cout << "lost: the values left their range; the answer means nothing\n";
  for (std::size_t c = 0; c < probabilities.size(); ++c) {
    std::cout << percent(probabilities[c]) << "  " << facts.classes[c] << "\n";
  }
  std::cout << std::flush;
  return 0;
}

void printReport(const json& report) {
  const auto has = [&](const char* key) { return report.contains(key); };
  const auto number = [&](const char* key) { return report.value(key, 0.0); };
  const auto megabytes = [&](const char* key) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f MB", number(key) / 1e6);
    return std::string(text);
  };
  if (has("float_accuracy")) {
    std::cout << "  accuracy " << percent(number("float_accuracy")) << " in floating point, on "
              << report["float_images"] << " test images";
    if (has("fixed_point_accuracy")) {
      std::cout << "; " << percent(number("fixed_point_accuracy")) << " in fixed point, on "
                << report["fixed_point_images"] << " of them (the same answer for "
                << percent(number("fixed_point_agreement")) << ")";
    }
    std::cout << "\n  out of range " << percent(number("out_of_range_ratio"), 4)
              << " of the activations' inputs; lost images " << report["lost_images"] << "\n";
  }
  const auto seconds = [&](const std::string& phase) {
    char text[96];
    std::snprintf(text, sizeof text,
                  "%.2f s at 0.25 ms and 1 Gbit/s, %.2f s at 100 ms and 100 Mbit/s",
                  number((phase + "seconds_at_0.25ms_1gbit").c_str()),
                  number((phase + "seconds_at_100ms_100mbit").c_str()));
    return std::string(text);
  };
  std::cout << "  an inference: " << report["rounds"] << " round trips, "
            << megabytes("bytes_to_engine") << " to the engine, " << megabytes("bytes_to_client")
            << " to the client; predicted " << seconds("") << "\n";
  if (has("preparation_refused")) {
    std::cout << "  cannot be prepared in two-party mode: "
              << report["preparation_refused"].get<std::string>() << "\n";
  } else {
    std::cout << "  its preparation, before the image is known: " << report["preparation_rounds"]
              << " round trips, " << megabytes("preparation_bytes_to_engine") << " to the engine, "
              << megabytes("preparation_bytes_to_client") << " to the client, and once a session "
              << megabytes("session_key_bytes") << " of keys; predicted " << seconds("preparation_")
              << "\n";
  }
  std::cout << "  with a dealer instead: " << megabytes("dealer_bytes_to_client")
            << " to the client, " << megabytes("dealer_bytes_from_client") << " from it\n";
  if (has("truncation_failure_bound")) {
    std::cout << "  probability of a truncation failure in an inference: at most "
              << number("truncation_failure_bound") << "\n";
  }
}

void describe(const models::LoadedModel& model, const fs::path& path, bool asJson) {
  json training = json::parse(model.training, nullptr, false);
  if (!training.is_object()) training = json::object();
  // What follows from the file itself, and what its exporter measured.
  json report = modelReport(model, json(), {});
  if (const auto stored = training.find("report");
      stored != training.end() && stored->is_object()) {
    json all = *stored;
    all.update(report);
    report = std::move(all);
  }
  training.erase("report");
  const json result = {{"file", path.string()},
                       {"model_file", true},
                       {"name", model.model.name},
                       {"rounds", model.model.stages.size()},
                       {"activations", model.model.activationCount()},
                       {"weights", model.model.weightCount()},
                       {"classes", model.model.labels.size()},
                       {"precision_bits", model.model.precisionBits},
                       {"failure_bound", model.failure.total()},
                       {"model_hash", models::toHex(models::modelHash(model.model))},
                       {"report", report},
                       {"training", training}};
  if (asJson) return print(result);
  std::cout << path.string() << ": " << result["activations"] << " activations, "
            << result["weights"] << " weights, " << result["classes"] << " classes\n";
  printReport(report);
  std::cout << "  model hash " << result["model_hash"].get<std::string>() << "\n  training:\n";
  for (const auto& [key, value] : training.items()) {
    if (!value.is_array() && !value.is_null() && value != "")
      std::cout << "    " << key << ": " << value << "\n";
  }
  std::cout << std::flush;
}

struct ExportArguments {
  std::string run, out, checkpoint = "last", network;
  std::uint64_t seed = 1;
  int classes = 10;
  std::uint32_t imageSize = 0;
  std::vector<std::string> data;
  std::size_t oracleImages = 200;
};

int exportCommand(const ExportArguments& args, bool asJson) {
  const fs::path out = args.out;
  if (!args.run.empty()) {
    const auto run = RunFolder::open(args.run);
    if (!run.ok()) return fail(run.error());
    data::Dataset dataset;
    if (args.oracleImages > 0) {
      auto read = readData(args.data.empty() ? run->config().data : args.data,
                           run->config().imageSize, false);
      if (read.ok()) {
        dataset = std::move(read).value();
      } else {
        std::cerr << "The report will lack the fixed-point accuracy: " << read.error().message
                  << "\n";
      }
    }
    const auto model = exportRun(*run, args.checkpoint, out, {&dataset.test, args.oracleImages});
    if (!model.ok()) return fail(model.error());
    describe(*model, out, asJson);
    return 0;
  }
  std::uint32_t size = args.imageSize;
  for (const auto& info : architectures::architectureList()) {
    if (size == 0 && info.name == args.network) size = info.inputSize;
  }
  const auto network = randomNetwork(args.network, args.classes, size, args.seed);
  if (!network.ok()) return fail(network.error());
  const auto bytes = exportNetwork(*network, randomFacts(*network, args.seed));
  if (!bytes.ok()) return fail(bytes.error());
  const Status written = writeFileAtomically(out, *bytes);
  if (!written.ok()) return fail(written.error());
  const auto model = models::loadOnnx(out);
  if (!model.ok()) return fail(model.error());
  describe(*model, out, asJson);
  return 0;
}

struct DownloadArguments {
  std::string name, out, url, sha256;
};

int downloadCommand(const DownloadArguments& args) {
  data::Download what;
  for (const auto& known : data::downloadList()) {
    if (known.name == args.name) what = known;
  }
  if (!args.url.empty()) what.url = args.url;
  if (!args.sha256.empty()) what.sha256 = args.sha256;
  std::signal(SIGINT, onSignal);
  std::signal(SIGTERM, onSignal);
  const bool terminal = ::isatty(2) != 0;
  const auto progress = [&](std::uint64_t got, std::uint64_t all) {
    if (all == 0) all = what.bytes;
    if (g_json) {
      print({{"event", "progress"}, {"bytes", got}, {"bytes_in_all", all}});
    } else if (terminal) {
      const double part = all == 0 ? 0 : static_cast<double>(got) / static_cast<double>(all);
      std::fprintf(stderr, "\r\x1b[K%s %.1f of %.1f MB", bar(part).c_str(),
                   static_cast<double>(got) / 1e6, static_cast<double>(all) / 1e6);
    }
  };
  const Status done = data::download(what, args.out, progress, &g_stop);
  if (terminal && !g_json) std::cerr << "\r\x1b[K";
  if (!done.ok()) return fail(done.error());
  if (g_json) {
    print({{"event", "finished"}, {"folder", args.out}});
  } else {
    std::cout << what.name << " is in " << args.out << "; train with --data " << args.out << "\n";
  }
  return 0;
}

/// A network that is no model file yet, but can become one by training.
int describeImported(const ImportedNetwork& imported, const std::string& file, bool asJson) {
  constexpr std::uint32_t kDegree = 4;
  const architectures::Architecture& a = imported.architecture;
  const auto counts = architectures::countsOf(a);
  const auto cost = networkCost(a, kDegree);
  if (!cost.ok()) return fail({cost.error().code, file + ": " + cost.error().message});
  json report = toJson(*cost);
  if (asJson) {
    print({{"file", file},
           {"model_file", false},
           {"image_size", a.input.height},
           {"classes", a.classes},
           {"parameters", counts.parameters},
           {"activations", counts.activations},
           {"convolutions", counts.convolutions},
           {"rounds", counts.rounds},
           {"report", report}});
    return 0;
  }
  std::cout << file
            << ": no model file yet, but a network that can be trained to be one\n  images of "
            << a.input.height << " x " << a.input.width << ", " << a.classes << " classes; "
            << counts.parameters << " parameters, " << counts.convolutions << " convolutions, "
            << counts.activations << " activations\n  with polynomials of degree " << kDegree
            << " it would take\n";
  printReport(report);
  std::cout << "  pillarbox-train train --data IMAGES --from " << file
            << " --preset convert --out RUN\n";
  return 0;
}

int inspectCommand(const std::string& file, bool asJson) {
  const auto ours = models::isModelFile(file);
  if (!ours.ok()) return fail(ours.error());
  if (!*ours) {
    const auto imported = importOnnx(file);
    return imported.ok() ? describeImported(*imported, file, asJson) : fail(imported.error());
  }
  const auto model = models::loadOnnx(file);
  if (!model.ok()) return fail(model.error());
  describe(*model, file, asJson);
  return 0;
}

struct FitArguments {
  models::pillar::FitRequest request;
  std::string norm = "l2", plot;
  bool cache = true;
};

int fitCommand(FitArguments& args, bool asJson) {
  using models::pillar::FitNorm;
  models::pillar::FitRequest& request = args.request;
  request.norm = args.norm == "l1"     ? FitNorm::L1
                 : args.norm == "linf" ? FitNorm::LInfinity
                                       : FitNorm::LeastSquares;
  const fs::path folder = args.cache ? models::pillar::defaultFitCache() : fs::path();
  const auto fit = models::pillar::fitReluCached(request, folder);
  if (!fit.ok()) return fail(fit.error());
  if (!args.plot.empty()) {
    const Status written = writeFileAtomically(args.plot, models::pillar::plotSvg(request, *fit));
    if (!written.ok()) return fail(written.error());
  }
  const double gap = fit->error > 0 ? std::max(0.0, 1 - fit->bound / fit->error) : 0;
  if (asJson) {
    print({{"degree", request.degree},
           {"fraction_bits", request.fractionBits},
           {"range", request.range},
           {"scale", request.scale},
           {"norm", args.norm},
           {"coefficients", fit->coefficients},
           {"error", fit->error},
           {"bound", fit->bound},
           {"optimal", fit->optimal()},
           {"gap", gap},
           {"real_coefficients", fit->realCoefficients},
           {"real_error", fit->realError},
           {"rounded_coefficients", models::pillar::roundedCoefficients(request, *fit)},
           {"rounded_error", fit->roundedError}});
    return 0;
  }
  std::cout << "ReLU on [-" << request.range << ", " << request.range << "], degree "
            << request.degree << ", coefficients over 2^" << request.fractionBits << ", "
            << (args.norm == "l2"   ? "mean squared error"
                : args.norm == "l1" ? "mean absolute error"
                                    : "largest error")
            << "\n  power  integer      value         real\n";
  for (std::size_t j = 0; j < fit->coefficients.size(); ++j) {
    std::printf("  %5zu  %7lld  %9.6f  %11.8f\n", j, static_cast<long long>(fit->coefficients[j]),
                std::ldexp(static_cast<double>(fit->coefficients[j]),
                           -static_cast<int>(request.fractionBits)),
                fit->realCoefficients[j]);
    std::fflush(stdout);
  }
  std::cout << "  error " << fit->error << (fit->optimal() ? ", proven optimal" : "");
  if (!fit->optimal()) {
    std::cout << ", no integers below " << fit->bound << " (gap " << percent(gap) << ")";
  }
  std::cout << "\n  real coefficients " << fit->realError << ", the same rounded "
            << fit->roundedError << std::endl;
  return 0;
}

int listCommand(bool asJson) {
  constexpr std::uint32_t kDegree = 4;
  if (!asJson) {
    std::printf("%-10s %3s  %10s  %11s  %6s  %-28s  %-29s\n", "", "", "", "", "",
                "   an inference, seconds at", "   its preparation, seconds at");
    std::printf("%-10s %3s  %10s  %11s  %6s  %6s  %8s  %10s  %7s  %8s  %10s\n", "", "", "", "", "",
                "", "0.25 ms,", "100 ms,", "", "0.25 ms,", "100 ms,");
    std::printf("%-10s %3s  %10s  %11s  %6s  %6s  %8s  %10s  %7s  %8s  %10s\n", "network", "px",
                "parameters", "activations", "rounds", "MB", "1 Gbit/s", "100 Mbit/s", "MB",
                "1 Gbit/s", "100 Mbit/s");
    std::fflush(stdout);
  }
  for (const auto& info : architectures::architectureList()) {
    const auto a = architectures::makeArchitecture(info.name, 10, info.inputSize);
    if (!a.ok()) return fail(a.error());
    const auto counts = architectures::countsOf(*a);
    const auto cost = networkCost(*a, kDegree);
    if (!cost.ok()) return fail(cost.error());
    if (asJson) {
      print({{"name", info.name},
             {"summary", info.summary},
             {"image_size", info.inputSize},
             {"parameters", counts.parameters},
             {"activations", counts.activations},
             {"multiply_adds", counts.multiplyAdds},
             {"rounds", counts.rounds},
             {"costs", toJson(*cost)}});
      continue;
    }
    std::printf("%-10s %3u  %8.2f M  %11llu  %6d  %6.1f  %8.2f  %10.2f", info.name.c_str(),
                info.inputSize, static_cast<double>(counts.parameters) / 1e6,
                static_cast<unsigned long long>(counts.activations), counts.rounds,
                static_cast<double>(cost->bytesToEngine + cost->bytesToClient) / 1e6,
                cost->seconds(kNearLink), cost->seconds(kFarLink));
    if (const auto& preparation = cost->preparation) {
      std::printf(
          "  %7.1f  %8.2f  %10.2f",
          static_cast<double>(preparation->bytesToEngine + preparation->bytesToClient) / 1e6,
          cost->preparationSeconds(kNearLink), cost->preparationSeconds(kFarLink));
    } else {
      std::printf("  %7s  %8s  %10s", "-", "-", "-");
    }
    std::printf("\n           %s\n", info.summary.c_str());
    std::fflush(stdout);
  }
  if (!asJson) {
    std::cout << "For ten classes and polynomials of degree " << kDegree
              << ", in two-party mode, both parties with one core. An inference is prepared before "
                 "its image is known.\n";
  }
  return 0;
}

int presetsCommand(bool asJson) {
  for (const auto& info : presetList()) {
    TrainingConfig config;
    if (const Status applied = applyPreset(config, info.name); !applied.ok()) {
      return fail(applied.error());
    }
    if (asJson) {
      print({{"name", info.name}, {"summary", info.summary}, {"settings", toJson(config)}});
    } else {
      std::cout << info.name << ": " << info.summary << "\n";
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Trains polynomial networks for private classification and writes model files."};
  app.name("pillarbox-train");
  app.set_version_flag("--version", std::string("pillarbox-train " PILLARBOX_VERSION));
  app.require_subcommand(1);
  app.fallthrough();
  bool asJson = false;
  app.add_flag("--json", asJson, "Print one JSON object a line");

  TrainArguments args;
  TrainingConfig& config = args.config;
  Status preset;
  auto* train = app.add_subcommand("train", "Train a network on images");
  train
      ->add_option("--data", config.data,
                   "A CIFAR binary folder, or folders and zips with split/class/file")
      ->required();
  std::string presets = "A set of settings; options given beside it prevail.";
  for (const auto& info : presetList()) presets += "\n" + info.name + ": " + info.summary;
  train
      ->add_option_function<std::string>(
          "--preset", [&](const std::string& name) { preset = applyPreset(config, name); }, presets)
      ->trigger_on_parse();  // before the other options are stored
  auto* network =
      train->add_option("--network", config.network, "See list-models")->capture_default_str();
  train->add_option("--out", args.out, "Folder of the run; must not hold one yet");
  train->add_option("--epochs", config.epochs)->capture_default_str();
  train->add_option("--batch", config.batch,
                    "Images a step; 128 if not given, fewer where there are few");
  train->add_option("--learning-rate", config.learningRate, "Its peak")->capture_default_str();
  train->add_option("--weight-decay", config.weightDecay)->capture_default_str();
  train->add_option("--warmup-epochs", config.warmupEpochs)->capture_default_str();
  train->add_option("--label-smoothing", config.labelSmoothing)->capture_default_str();
  train->add_option("--gradient-clip", config.gradientClip, "Largest norm; 0 for none")
      ->capture_default_str();
  train->add_option("--average-decay", config.averageDecay, "Of the weights' moving average")
      ->capture_default_str();
  train->add_option("--crop-padding", config.augmentation.cropPadding)->capture_default_str();
  train->add_flag("!--no-flip", config.augmentation.flip, "Do not mirror images");
  train->add_option("--activation", args.activation, "polynomial, or relu for comparison")
      ->check(CLI::IsMember({"polynomial", "relu"}))
      ->capture_default_str();
  train->add_option("--polynomial", config.polynomial, "Integer coefficients, constant term first")
      ->delimiter(',')
      ->capture_default_str();
  train->add_option("--fraction-bits", config.fractionBits, "Coefficients are over 2^this")
      ->capture_default_str();
  train->add_option("--range", config.range, "B: activations are fitted on [-B, B]")
      ->capture_default_str();
  auto* penaltyRange = train->add_option("--penalty-range", config.penaltyRange,
                                         "Where the penalty sets in; by network if not given");
  train->add_option("--penalty-exponent", config.penalty.exponent)->capture_default_str();
  train->add_option("--penalty-coefficient", config.penalty.coefficient)->capture_default_str();
  auto* imageSize = train->add_option("--image-size", config.imageSize,
                                      "Side of the images in pixels; by network if not given");
  train->add_option("--seed", config.seed)->capture_default_str();
  train->add_option("--threads", config.threads, "0: one a core")->capture_default_str();
  train->add_option("--device", config.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  train->add_flag("!--full-precision", config.mixedPrecision,
                  "On a GPU: float32 throughout instead of bf16 in convolutions");
  train->add_option("--checkpoint-minutes", config.checkpointMinutes, "At least this often")
      ->capture_default_str();

  train->add_flag("!--no-penalty-warmup", config.penaltyWarmup,
                  "Apply the full penalty from the first epoch");
  train->add_option("--from", config.from,
                    "Start with the averaged weights of this run or checkpoint, ReLU's too, or "
                    "with the network in this ONNX file (as PyTorch exports it)");
  train->add_option("--teacher", config.teacher,
                    "A run or checkpoint whose answers are imitated, e.g. the same with ReLU");
  train->add_option("--teacher-weight", config.teacherWeight, "Of imitation in the loss, 0 to 1")
      ->capture_default_str();
  train->add_option("--teacher-temperature", config.teacherTemperature)->capture_default_str();
  train->add_option("--mixup", config.mixing.mixup, "Alpha of the proportion; 0 for none")
      ->capture_default_str();
  train->add_option("--cutmix", config.mixing.cutmix, "Alpha of the proportion; 0 for none")
      ->capture_default_str();
  train->add_flag("--class-weights", config.classWeights,
                  "Every class as a whole counts the same, however many images it has");
  train->add_flag("--trainable-coefficients,!--fixed-coefficients", config.trainableCoefficients,
                  "Every layer learns its polynomial; give it --fraction-bits 16 or more");
  train
      ->add_option("--coefficient-rate", config.coefficientRate,
                   "Their learning rate over that of the weights")
      ->capture_default_str();
  train->add_flag("--tune-coefficients,!--no-tune-coefficients", config.tuneCoefficients,
                  "Start from polynomials fitted to each layer's inputs (with --from)");
  train->add_flag("--normalised-terms", config.normalisedTerms,
                  "Normalise the terms of each polynomial separately (degree 2 to 4)");
  train
      ->add_option("--scale-epochs", config.scaleEpochs,
                   "Scale activations' inputs into the range, by batch for so many epochs")
      ->capture_default_str();
  train
      ->add_option("--progressive-epochs", config.progressiveEpochs,
                   "Replace ReLUs one after another over so many epochs")
      ->capture_default_str();
  train->add_flag("--alternate,!--no-alternate", config.alternate,
                  "Train coefficients and weights in turns");
  train->add_option("--precision-bits", config.precisionBits, "Of the exported model")
      ->capture_default_str();
  train->add_option("--stop-after", args.stopAfter, "Stop after this epoch; resume continues");

  std::string folder;
  auto* resume = app.add_subcommand("resume", "Continue a run that was stopped or killed");
  resume->add_option("RUN", folder, "Folder of the run")->required();

  resume->add_option("--stop-after", args.stopAfter, "Stop after this epoch");
  int epochs = 0;
  resume->add_option("--epochs", epochs,
                     "A new total: extends or shortens the run and its learning-rate schedule");
  CLI::Option* rendezvous[2] = {};
  for (auto* command : {train, resume}) {
    command->add_flag("--control", args.control,
                      "Obey lines on stdin: pause, resume, stop; its end means stop");
    const std::string several = "Several processes, on this machine or others";
    command->add_option("--world-size", args.group.size, "How many processes train together")
        ->envname("WORLD_SIZE")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str()
        ->group(several);
    command
        ->add_option("--rank", args.group.rank,
                     "The number of this one; 0 leads, holds the run's folder "
                     "and prints")
        ->envname("RANK")
        ->capture_default_str()
        ->group(several);
    rendezvous[command == resume ? 1 : 0] =
        command
            ->add_option("--rendezvous", args.group.rendezvous,
                         "HOST:PORT of the leader; also by MASTER_ADDR and MASTER_PORT. Not "
                         "encrypted: for networks of your own only")
            ->capture_default_str()
            ->group(several);
    command->add_option("--interface", args.group.interface, "Network interface, such as eth0")
        ->group(several);
  }

  std::string checkpoint = "last";
  std::vector<std::string> paths;
  bool clip = false;
  auto* evaluation = app.add_subcommand("evaluate", "Test a run's network, as it will be used");
  evaluation->add_option("RUN", folder, "Folder of the run")->required();
  evaluation->add_option("--data", paths, "Other data than the run's");
  evaluation->add_option("--checkpoint", checkpoint)
      ->check(CLI::IsMember({"last", "best"}))
      ->capture_default_str();
  evaluation->add_flag("--clip", clip, "Clamp activations to the range, as in training");

  std::string picture;
  auto* classifying = app.add_subcommand("classify", "Let a run's network classify one image");
  classifying->add_option("RUN", folder, "Folder of the run")->required();
  classifying->add_option("IMAGE", picture, "JPEG, PNG, BMP, GIF, PNM or TGA")->required();
  classifying->add_option("--checkpoint", checkpoint)
      ->check(CLI::IsMember({"last", "best"}))
      ->capture_default_str();

  ExportArguments exportArgs;
  auto* exporting = app.add_subcommand("export", "Write a model file (ONNX)");
  auto* runOption = exporting->add_option("RUN", exportArgs.run, "Folder of the run");
  exporting->add_option("--out", exportArgs.out, "The file to write")->required();
  exporting->add_option("--checkpoint", exportArgs.checkpoint)
      ->check(CLI::IsMember({"last", "best"}))
      ->capture_default_str();
  exporting->add_option("--data", exportArgs.data, "Other test images than the run's");
  exporting
      ->add_option("--oracle-images", exportArgs.oracleImages,
                   "Test images for the accuracy in fixed point; 0 leaves it out")
      ->capture_default_str();
  auto* networkOption = exporting->add_option(
      "--network", exportArgs.network, "Instead of a run: a network of this kind, untrained");
  networkOption->excludes(runOption);
  auto* seedOption =
      exporting->add_option("--random-weights", exportArgs.seed, "The seed of its weights");
  networkOption->needs(seedOption);
  seedOption->needs(networkOption);
  exporting->add_option("--classes", exportArgs.classes)->needs(networkOption);
  exporting->add_option("--image-size", exportArgs.imageSize)->needs(networkOption);

  std::string file;
  auto* inspect = app.add_subcommand("inspect", "Say what a model file holds");
  inspect->add_option("FILE", file, "An ONNX model file")->required();
  FitArguments fitArgs;
  auto* fit = app.add_subcommand("fit-poly", "Fit ReLU by a polynomial with integer coefficients");
  fit->add_option("--degree", fitArgs.request.degree, "1 to 8")->capture_default_str();
  fit->add_option("--bits", fitArgs.request.fractionBits, "Coefficients are integers over 2^this")
      ->capture_default_str();
  fit->add_option("--range", fitArgs.request.range, "B: fitted on [-B, B]")->capture_default_str();
  fit->add_option("--scale", fitArgs.request.scale, "Powers of x over this, a power of two")
      ->capture_default_str();
  fit->add_option("--norm", fitArgs.norm, "l2, l1 or linf")
      ->check(CLI::IsMember({"l2", "l1", "linf"}))
      ->capture_default_str();
  fit->add_option("--points", fitArgs.request.points, "Samples, odd")->capture_default_str();
  fit->add_option("--seconds", fitArgs.request.secondsLimit, "Limit of the search")
      ->capture_default_str();
  fit->add_option("--plot", fitArgs.plot, "Also draw the fit into this SVG file");
  fit->add_flag("!--no-cache", fitArgs.cache, "Search again, whatever was found before");
  DownloadArguments downloadArgs;
  auto* downloading = app.add_subcommand("download", "Fetch a standard data set");
  std::vector<std::string> names;
  for (const auto& known : data::downloadList()) names.push_back(known.name);
  downloading->add_option("NAME", downloadArgs.name)->required()->check(CLI::IsMember(names));
  downloading->add_option("--out", downloadArgs.out, "Folder for its files")->required();
  downloading->add_option("--url", downloadArgs.url, "Another place to fetch the archive from");
  downloading->add_option("--sha256", downloadArgs.sha256, "Of another version of the archive");
  auto* list = app.add_subcommand("list-models", "List the networks that can be trained");
  auto* presetsOf = app.add_subcommand("list-presets", "List the sets of settings for train");

  try {
    app.parse(argc, argv);
    if (*exporting && exportArgs.run.empty() && exportArgs.network.empty()) {
      throw CLI::RequiredError("RUN or --network");
    }
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    const std::vector<std::string> words(argv + 1, argv + argc);
    std::string message = e.what();
    if (app.get_subcommands().empty() && !words.empty() && !words[0].starts_with("-")) {
      message = "There is no command \"" + words[0] + "\"";
    }
    g_json = std::find(words.begin(), words.end(), "--json") != words.end();
    fail({ErrorCode::InvalidArgument, message + "; --help lists what there is."});
    return 2;
  }

  g_json = asJson;
  if (!preset.ok()) {
    fail(preset.error());
    return 2;
  }
  try {
    completeRendezvous(args.group, rendezvous[0]->count() + rendezvous[1]->count() > 0);
    if (*train) {
      return trainCommand(args, network->count() > 0, penaltyRange->count() > 0,
                          imageSize->count() > 0);
    }
    if (*resume) return resumeCommand(folder, args, epochs);
    if (*evaluation) return evaluateCommand(folder, checkpoint, paths, clip, asJson);
    if (*exporting) return exportCommand(exportArgs, asJson);
    if (*inspect) return inspectCommand(file, asJson);
    if (*fit) return fitCommand(fitArgs, asJson);
    if (*downloading) return downloadCommand(downloadArgs);
    if (*list) return listCommand(asJson);
    if (*classifying) return classifyCommand(folder, checkpoint, picture, asJson);
    if (*presetsOf) return presetsCommand(asJson);
  } catch (const c10::Error& e) {
    return fail(
        {ErrorCode::Internal, std::string("LibTorch failed: ") + e.what_without_backtrace()});
  } catch (const std::bad_alloc&) {
    return fail({ErrorCode::Exhausted, "There is not enough memory; try a smaller --batch."});
  } catch (const std::exception& e) {
    return fail({ErrorCode::Internal, e.what()});
  }
  return 1;
}

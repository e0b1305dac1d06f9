// Whole runs on a small made-up data set: learning, stopping, killing, resuming, recovering, and
// the command line around them.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "models/onnx_reader.h"
#include "models/training/export.h"
#include "models/training/trainer.h"
#include "tests/training/expect.h"
#include "tests/training/small_data.h"

namespace {

namespace fs = std::filesystem;
using namespace pillarbox;
using namespace pillarbox::training;
using nlohmann::json;
using pillarbox::test::readSmallData;
using pillarbox::test::smallConfig;
using pillarbox::test::TemporaryFolder;
using pillarbox::test::writeSmallData;

std::vector<torch::Tensor> finalTensors(const RunFolder& run) {
  auto network = makeNetwork(run.config(), 3).value();
  auto average = makeNetwork(run.config(), 3).value();
  CheckpointParts parts{network, average, nullptr, {}};
  EXPECT(run.loadCheckpoint("last", parts).ok());
  EXPECT_EQUAL(parts.state.epoch, run.config().epochs);
  auto result = network->parameters();
  for (const auto& t : average->parameters()) result.push_back(t);
  for (const auto& t : average->buffers()) result.push_back(t);
  return result;
}

void learnsAndResumesExactly() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  const auto config = smallConfig(folder.path() / "data");

  auto whole = RunFolder::create(folder.path() / "whole", config).value();
  std::vector<json> events;
  TrainCallbacks callbacks;
  callbacks.event = [&](const json& event) {
    if (event["event"] != "checkpoint") events.push_back(event);
  };
  const auto outcome = train(whole, dataset, callbacks);
  EXPECT(outcome.ok() && *outcome == TrainOutcome::Finished);
  EXPECT_EQUAL(events.size(), 6U);  // start, four epochs, finished
  const json& last = events[4];
  EXPECT_EQUAL(last["event"].get<std::string>(), "epoch");
  EXPECT(last["test"]["accuracy"].get<double>() > 0.9);
  EXPECT_EQUAL(last["test"]["images"].get<int>(), 60);
  EXPECT_EQUAL(last["test"]["lost_images"].get<int>(), 0);
  EXPECT_EQUAL(last["test"]["layers"].size(), 6U);
  EXPECT_EQUAL(last["test"]["layers"][0]["histogram"].size(), 60U);
  EXPECT(last["loss"].get<double>() < events[1]["loss"].get<double>());

  // The same in pieces: stopped in the middle of the second epoch and of the third.
  auto pieces = RunFolder::create(folder.path() / "pieces", config).value();
  for (int stopAfter = 1; stopAfter <= 3; ++stopAfter) {
    std::atomic<bool> stop{false};
    callbacks.stop = &stop;
    callbacks.event = [&](const json& event) {
      if (event["event"] == "epoch" && event["epoch"] == stopAfter && stopAfter < 3) stop = true;
    };
    auto reopened = RunFolder::open(folder.path() / "pieces").value();
    const auto part = train(reopened, dataset, callbacks);
    EXPECT(part.ok());
    EXPECT((*part == TrainOutcome::Stopped) == (stopAfter < 3));
  }
  const auto a = finalTensors(whole);
  const auto b = finalTensors(pieces);
  EXPECT_EQUAL(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT(torch::equal(a[i], b[i]));

  // Clipping changes nothing where everything is in range; the evaluation agrees with the log.
  auto network = makeNetwork(config, 3).value();
  auto average = makeNetwork(config, 3).value();
  CheckpointParts parts{network, average, nullptr, {}};
  EXPECT(whole.loadCheckpoint("last", parts).ok());
  const auto facts = whole.loadData().value();
  const auto open = evaluate(average, dataset.test, facts.normalisation, false);
  EXPECT_EQUAL(open.accuracy, last["test"]["accuracy"].get<double>());
  std::uint64_t inMatrix = 0;
  for (const auto& row : open.confusion) {
    for (const auto n : row) inMatrix += n;
  }
  EXPECT_EQUAL(inMatrix, 60U);
}

void reportsLostImages() {
  // Weights a hundred times too large: activations escape, and every image must be counted lost.
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  auto network = makeNetwork(smallConfig(folder.path() / "data"), 3).value();
  {
    const torch::NoGradGuard guard;
    for (const auto& child : network->named_children()) {
      if (auto* norm = child.value()->as<torch::nn::BatchNorm2d>()) norm->weight.fill_(100);
    }
  }
  const auto open = evaluate(network, dataset.test, data::normalisationOf(dataset.train), false);
  EXPECT_EQUAL(open.lost, 60U);
  EXPECT(open.layers[0].values.largest > 7.5F);
  EXPECT(open.layers[0].histogram.front() > 0 && open.layers[0].histogram.back() > 0);
  const json text = toJson(open);  // must not fail on infinities
  EXPECT(!text.dump().empty());
}

void recoversOrExplains() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  auto config = smallConfig(folder.path() / "data");
  config.penalty.coefficient = 1e300;  // an infinite gradient in every step
  auto run = RunFolder::create(folder.path() / "run", config).value();
  int recoveries = 0;
  double scale = 1;
  TrainCallbacks callbacks;
  callbacks.event = [&](const json& event) {
    if (event["event"] != "recovery") return;
    ++recoveries;
    EXPECT(!event["reason"].get<std::string>().empty());
    EXPECT_EQUAL(event["rate_scale"].get<double>(), scale / 2);
    scale /= 2;
  };
  const auto outcome = train(run, readSmallData(folder.path() / "data"), callbacks);
  EXPECT(!outcome.ok() && outcome.error().code == ErrorCode::Exhausted);
  EXPECT_EQUAL(recoveries, 4);
}

void rejectsDamage() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  auto config = smallConfig(folder.path() / "data");
  config.epochs = 1;
  auto run = RunFolder::create(folder.path() / "run", config).value();
  EXPECT(!RunFolder::create(folder.path() / "run", config).ok());
  EXPECT(train(run, readSmallData(folder.path() / "data"), {}).ok());
  const fs::path checkpoint = folder.path() / "run" / "last.pt";
  fs::resize_file(checkpoint, fs::file_size(checkpoint) / 2);
  const auto damaged = train(run, readSmallData(folder.path() / "data"), {});
  EXPECT(!damaged.ok() && damaged.error().code == ErrorCode::Format);
  EXPECT(damaged.error().message.find("last.pt") != std::string::npos);

  std::ofstream(folder.path() / "run" / "config.json") << "{\"epochs\": 3}";
  EXPECT(!RunFolder::open(folder.path() / "run").ok());
  EXPECT(RunFolder::open(folder.path() / "nowhere").error().code == ErrorCode::NotFound);
  config.learningRate = -1;
  EXPECT(!RunFolder::create(folder.path() / "other", config).ok());
  EXPECT(!fs::exists(folder.path() / "other"));
}

struct Finished {
  int code = -1;
  std::string out;
};

Finished command(const std::vector<std::string>& arguments) {
  std::string line = PILLARBOX_TRAIN;
  for (const auto& argument : arguments) line += " '" + argument + "'";
  FILE* pipe = popen((line + " 2>/dev/null").c_str(), "r");
  Finished result;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    result.out.append(buffer, n);
  }
  result.code = WEXITSTATUS(pclose(pipe));
  return result;
}

void killedAndResumed() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const std::string data = (folder.path() / "data").string();
  const std::string run = (folder.path() / "run").string();
  const pid_t child = fork();
  if (child == 0) {
    if (!std::freopen("/dev/null", "w", stdout) || !std::freopen("/dev/null", "w", stderr))
      _exit(9);
    execl(PILLARBOX_TRAIN, PILLARBOX_TRAIN, "train", "--data", data.c_str(), "--image-size", "8",
          "--batch", "20", "--epochs", "200", "--threads", "1", "--out", run.c_str(), nullptr);
    _exit(9);
  }
  // Kill it, without warning, once it has a few epochs behind it.
  const auto epochs = [&] {
    std::ifstream log(run + "/log.jsonl");
    int count = 0;
    for (std::string line; std::getline(log, line);) count += line.find("\"epoch\":") != line.npos;
    return count;
  };
  for (int i = 0; i < 1200 && epochs() < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT(epochs() >= 3);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT(WIFSIGNALED(status));

  // Shorten what is left, then resume to the end.
  std::ifstream in(run + "/config.json");
  json config = json::parse(in);
  in.close();
  config["epochs"] = epochs() + 2;
  std::ofstream(run + "/config.json") << config.dump();
  const auto resumed = command({"resume", run, "--json"});
  EXPECT_EQUAL(resumed.code, 0);
  std::istringstream lines(resumed.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQUAL(json::parse(line)["event"].get<std::string>(), "data");
  std::getline(lines, line);
  const json first = json::parse(line);
  EXPECT_EQUAL(first["event"].get<std::string>(), "resume");
  EXPECT(first["epoch"].get<int>() >= 2);

  const auto evaluated = command({"evaluate", run, "--json"});
  EXPECT_EQUAL(evaluated.code, 0);
  EXPECT_EQUAL(json::parse(evaluated.out)["images"].get<int>(), 60);
  // The first test image of the third class, by name; averaged weights on easy data.
  const std::string image = data + "/test/red/40.ppm";
  const auto classified = command({"classify", run, image, "--json"});
  EXPECT_EQUAL(classified.code, 0);
  const json answer = json::parse(classified.out);
  EXPECT_EQUAL(answer["classes"][2].get<std::string>(), "red");
  const auto shares = answer["probabilities"].get<std::vector<double>>();
  EXPECT_EQUAL(shares.size(), 3U);
  EXPECT(std::abs(shares[0] + shares[1] + shares[2] - 1) < 1e-5);
  EXPECT(shares[2] > shares[0] && shares[2] > shares[1]);
  EXPECT(!answer["lost"].get<bool>());
  EXPECT_EQUAL(command({"classify", run, run + "/config.json"}).code, 1);  // no image

  const std::string file = (folder.path() / "model.onnx").string();
  EXPECT_EQUAL(command({"export", run, "--out", file}).code, 0);
  const auto model = models::loadOnnx(file);
  EXPECT(model.ok());
  if (model.ok()) {
    EXPECT_EQUAL(model->model.labels[2], "red");
    const json training = json::parse(model->training);
    EXPECT_EQUAL(training["network"].get<std::string>(), "pillar7");
    EXPECT(training["test_accuracy"].get<double>() > 0.5);
    EXPECT(model->training.find(folder.path().string()) == std::string::npos);  // no private paths
  }
  EXPECT_EQUAL(command({"inspect", file}).code, 0);
  EXPECT_EQUAL(command({"train", "--data", data, "--out", run}).code, 1);  // there is a run already
}

// A child with pipes at its stdin and stdout.
class Controlled {
 public:
  explicit Controlled(const std::vector<std::string>& arguments) {
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0) throw std::runtime_error("no pipes");
    m_child = fork();
    if (m_child == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      for (const int file : {in[0], in[1], out[0], out[1]}) close(file);
      if (!std::freopen("/dev/null", "w", stderr)) _exit(9);
      std::vector<char*> list{const_cast<char*>(PILLARBOX_TRAIN)};
      for (const auto& a : arguments) list.push_back(const_cast<char*>(a.c_str()));
      list.push_back(nullptr);
      execv(PILLARBOX_TRAIN, list.data());
      _exit(9);
    }
    close(in[0]);
    close(out[1]);
    m_to = in[1];
    m_from = fdopen(out[0], "r");
  }
  ~Controlled() {
    closeInput();
    std::fclose(m_from);
    if (m_child > 0) {
      kill(m_child, SIGKILL);
      waitpid(m_child, nullptr, 0);
    }
  }
  void send(const std::string& line) {
    EXPECT_EQUAL(write(m_to, line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }
  void closeInput() {
    if (m_to >= 0) close(m_to);
    m_to = -1;
  }
  // The next event of a kind; a null one if the output ends before.
  json waitFor(const std::string& kind) {
    char* line = nullptr;
    std::size_t size = 0;
    json found;
    while (found.is_null() && getline(&line, &size, m_from) > 0) {
      const json event = json::parse(line);
      if (event["event"] == kind) found = event;
    }
    std::free(line);
    return found;
  }
  // Whether an event arrives within a while.
  bool silent(int milliseconds) {
    pollfd wait{fileno(m_from), POLLIN, 0};
    return poll(&wait, 1, milliseconds) == 0;
  }
  int exitCode() {
    int status = 0;
    waitpid(m_child, &status, 0);
    m_child = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  pid_t pid() const { return m_child; }

 private:
  pid_t m_child = -1;
  int m_to = -1;
  FILE* m_from = nullptr;
};

void controlled() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const std::string data = (folder.path() / "data").string();
  const std::string run = (folder.path() / "run").string();
  Controlled child({"train", "--data", data, "--image-size", "8", "--batch", "20", "--epochs",
                    "5000", "--threads", "1", "--out", run, "--json", "--control"});
  const json counted = child.waitFor("data");
  EXPECT_EQUAL(counted["class_counts"].size(), 3U);
  EXPECT_EQUAL(counted["imbalance"].get<double>(), 1.0);
  EXPECT_EQUAL(child.waitFor("start")["epochs"].get<int>(), 5000);
  EXPECT(child.waitFor("progress")["seconds_left"].get<double>() > 0);
  for (int how = 0; how < 2; ++how) {
    how == 0 ? child.send("pause\n") : void(kill(child.pid(), SIGUSR1));
    EXPECT(child.waitFor("paused").is_object());
    EXPECT(child.silent(500));
    how == 0 ? child.send("resume\n") : void(kill(child.pid(), SIGUSR2));
    EXPECT(child.waitFor("continued").is_object());
    EXPECT(child.waitFor("epoch")["test"]["layers"][0]["histogram"].size() == 60);
  }
  child.send("stop\n");
  const json stopped = child.waitFor("stopped");
  EXPECT(stopped.is_object());
  EXPECT_EQUAL(child.exitCode(), 3);

  Controlled again({"resume", run, "--epochs", "6000", "--json", "--control"});
  const json resumed = again.waitFor("resume");
  EXPECT(resumed["epoch"] == stopped["epoch"] && resumed["step"] == stopped["step"]);
  EXPECT_EQUAL(resumed["epochs"].get<int>(), 6000);
  again.closeInput();  // as when the program that started it has crashed
  EXPECT(again.waitFor("stopped").is_object());
  EXPECT_EQUAL(again.exitCode(), 3);

  const auto refused = command({"resume", run + "-not-there", "--json"});
  EXPECT_EQUAL(json::parse(refused.out)["event"].get<std::string>(), "error");
}

void commandLine() {
  EXPECT_EQUAL(command({"--help"}).code, 0);
  EXPECT(command({"--version"}).out.starts_with("pillarbox-train "));
  EXPECT_EQUAL(command({}).code, 2);
  EXPECT_EQUAL(command({"train", "--out", "x"}).code, 2);
  EXPECT_EQUAL(command({"export", "--out", "x.onnx"}).code, 2);
  EXPECT_EQUAL(command({"inspect", "/nonexistent.onnx"}).code, 1);
  const auto list = command({"list-models", "--json"});
  EXPECT_EQUAL(list.code, 0);
  EXPECT_EQUAL(std::count(list.out.begin(), list.out.end(), '\n'), 7);
  const auto presets = command({"list-presets", "--json"});
  EXPECT_EQUAL(presets.code, 0);
  EXPECT_EQUAL(std::count(presets.out.begin(), presets.out.end(), '\n'), 6);
  EXPECT_EQUAL(json::parse(presets.out.substr(0, presets.out.find('\n')))["settings"]["epochs"],
               30);
  const auto fit = command({"fit-poly", "--json", "--no-cache"});
  EXPECT_EQUAL(fit.code, 0);
  const json answer = json::parse(fit.out);
  EXPECT(answer["optimal"].get<bool>());
  EXPECT(
      (answer["coefficients"].get<std::vector<int>>() == std::vector<int>{322, 512, 160, 0, -3}));
}

}  // namespace

int main() {
  return pillarbox::test::run({{"learns, and resumes exactly", learnsAndResumesExactly},
                               {"lost images are counted", reportsLostImages},
                               {"recovers or explains", recoversOrExplains},
                               {"damage is rejected", rejectsDamage},
                               {"killed and resumed", killedAndResumed},
                               {"paused, continued and stopped from outside", controlled},
                               {"command line", commandLine}});
}

// Whole runs on a small made-up data set: learning, stopping, killing, resuming, recovering, and
// the command line around them.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "models/onnx_reader.h"
#include "models/training/export.h"
#include "models/training/group.h"
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

// A port of this machine that nobody uses just now.
std::string freeAddress() {
  const int probe = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(probe, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  close(probe);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

// One step's gradients and batch norm statistics on images first .. first +
// count - 1 of a batch, as part `group` of the whole.
std::vector<torch::Tensor> gradientsOf(std::int64_t first, std::int64_t count, Group* group) {
  at::set_num_threads(1);
  torch::manual_seed(4);
  const torch::Tensor images = torch::randn({12, 3, 8, 8}).slice(0, first, first + count);
  const torch::Tensor labels = torch::arange(12).remainder(3).slice(0, first, first + count);
  TrainingConfig config;
  config.imageSize = 8;
  auto network = makeNetwork(config, 3).value();
  network->train();
  ForwardOptions options;
  options.clip = true;
  options.penaltyExponent = 4;
  options.group = group;
  const auto out = network->forward(images, options);
  ObjectiveOptions goal;
  goal.labelSmoothing = 0.1;
  const double parties = group ? group->size() : 1;
  (objective(out.logits, {images, labels, labels, 1.0}, {}, goal) / parties + 1e-3 * out.penalty)
      .backward();
  if (group) group->sumGradients(network->parameters());
  std::vector<torch::Tensor> result;
  for (const auto& parameter : network->parameters()) result.push_back(parameter.grad());
  for (const auto& buffer : network->buffers()) result.push_back(buffer.to(torch::kFloat));
  return result;
}

// Must come first: processes are forked before LibTorch has threads.
void twoProcessesAreOne() {
  TemporaryFolder folder;
  GroupOptions options;
  options.size = 2;
  options.rendezvous = freeAddress();
  options.patience = 60;
  pid_t children[2];
  for (int rank = 0; rank < 2; ++rank) {
    children[rank] = fork();
    if (children[rank] != 0) continue;
    int code = 9;
    try {
      options.rank = rank;
      const auto group = Group::join(options, torch::kCPU);
      if (!group.ok()) {
        std::cerr << group.error().message << "\n";
        _exit(8);
      }
      const bool told =
          (*group)->broadcast(std::string(rank == 0 ? "from the leader" : "")) == "from the leader";
      // Unequal parts: statistics must be weighted.
      const auto part = gradientsOf(rank == 0 ? 0 : 5, rank == 0 ? 5 : 7, group->get());
      const auto equal = gradientsOf(6 * rank, 6, group->get());
      torch::save(equal, (folder.path() / std::to_string(rank)).string());
      const bool sane = part.size() == equal.size();
      code = told && sane ? 0 : 7;
    } catch (const std::exception& e) {
      std::cerr << e.what() << "\n";
    }
    _exit(code);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  if (test::failures() > 0) return;
  const auto one = gradientsOf(0, 12, nullptr);
  for (int rank = 0; rank < 2; ++rank) {
    std::vector<torch::Tensor> two;
    torch::load(two, (folder.path() / std::to_string(rank)).string());
    EXPECT_EQUAL(two.size(), one.size());
    for (std::size_t i = 0; i < one.size(); ++i) {
      const double size = one[i].abs().max().item<double>();
      EXPECT((one[i] - two[i]).abs().max().item<double>() <= 1e-4 * size + 1e-6);
    }
  }
  options.size = 1;
  options.rank = 1;
  EXPECT(Group::join(options, torch::kCPU).error().code == ErrorCode::InvalidArgument);
  options.rank = 0;
  options.rendezvous = "nonsense";
  EXPECT(Group::join(options, torch::kCPU).error().code == ErrorCode::InvalidArgument);
}

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

// A run too short for the penalty's warm-up has the full penalty from the beginning.
void shortRunsArePenalisedInFull() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  const auto trained = [&](const char* name, int epochs, bool warmup) {
    auto config = smallConfig(folder.path() / "data");
    config.epochs = epochs;
    config.penaltyWarmup = warmup;
    config.penalty.coefficient = 1;
    auto run = RunFolder::create(folder.path() / name, config).value();
    EXPECT(train(run, dataset, {}).ok());
    return finalTensors(run);
  };
  const auto same = [](const auto& a, const auto& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const auto& x, const auto& y) { return torch::equal(x, y); });
  };
  EXPECT(same(trained("one", 1, true), trained("one-full", 1, false)));
  EXPECT(!same(trained("two", 2, true), trained("two-full", 2, false)));
}

// An epoch has several steps however few images there are, and processes share every batch.
void batchesFitTheImages() {
  const auto of = [](int asked, std::size_t images, std::size_t processes) -> std::size_t {
    TrainingConfig config;
    config.batch = asked;
    const auto batch = batchFor(config, images, processes);
    return batch.ok() ? *batch : 0;
  };
  EXPECT_EQUAL(of(0, 50000, 1), 128U);
  EXPECT_EQUAL(of(0, 1024, 1), 128U);
  EXPECT_EQUAL(of(0, 1023, 1), 64U);
  EXPECT_EQUAL(of(0, 20, 1), 8U);
  EXPECT_EQUAL(of(0, 5, 1), 5U);
  EXPECT_EQUAL(of(0, 1, 1), 0U);
  EXPECT_EQUAL(of(0, 50000, 3), 126U);
  EXPECT_EQUAL(of(0, 40, 7), 14U);
  EXPECT_EQUAL(of(0, 13, 7), 0U);
  EXPECT_EQUAL(of(20, 20, 1), 20U);
  EXPECT_EQUAL(of(20, 19, 1), 0U);
  EXPECT_EQUAL(of(20, 50000, 3), 0U);
  EXPECT_EQUAL(of(2, 50000, 2), 0U);
}

void reportsLostImages() {
  // Weights a hundred times too large: activations escape, and every image must be counted lost.
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const auto dataset = readSmallData(folder.path() / "data");
  const auto evaluated = [&](ActivationKind kind) {
    auto config = smallConfig(folder.path() / "data");
    config.activation = kind;
    auto network = makeNetwork(config, 3).value();
    const torch::NoGradGuard guard;
    for (const auto& child : network->named_children()) {
      if (auto* norm = child.value()->as<torch::nn::BatchNorm2d>()) norm->weight.fill_(100);
    }
    return evaluate(network, dataset.test, data::normalisationOf(dataset.train), false);
  };
  EXPECT_EQUAL(evaluated(ActivationKind::Relu).lost, 0U);  // has no range to leave
  const auto open = evaluated(ActivationKind::Polynomial);
  EXPECT_EQUAL(open.lost, 60U);
  EXPECT(open.layers[0].values.largest() > 7.5F);
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

int epochsIn(const std::string& run) {
  std::ifstream log(run + "/log.jsonl");
  int count = 0;
  for (std::string line; std::getline(log, line);) {
    count += line.find("\"event\":\"epoch\"") != line.npos;
  }
  return count;
}

void killedAndResumed() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const std::string data = (folder.path() / "data").string();
  const std::string run = (folder.path() / "run").string();
  const std::string whole = (folder.path() / "whole").string();
  const auto arguments = [&](const std::string& out) {
    return std::vector<std::string>{
        "train", "--data",    data, "--image-size",         "8",    "--batch", "20", "--epochs",
        "12",    "--threads", "1",  "--checkpoint-minutes", "0.01", "--out",   out};
  };
  const pid_t child = fork();
  if (child == 0) {
    if (!std::freopen("/dev/null", "w", stdout) || !std::freopen("/dev/null", "w", stderr))
      _exit(9);
    const auto list = arguments(run);
    std::vector<char*> raw{const_cast<char*>(PILLARBOX_TRAIN)};
    for (const auto& a : list) raw.push_back(const_cast<char*>(a.c_str()));
    raw.push_back(nullptr);
    execv(PILLARBOX_TRAIN, raw.data());
    _exit(9);
  }
  // Kill it, without warning, once it has a few epochs behind it.
  for (int i = 0; i < 3000 && epochsIn(run) < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT(epochsIn(run) >= 3);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT(WIFSIGNALED(status));

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

  // To the last bit what it would have been without the kill.
  EXPECT_EQUAL(command(arguments(whole)).code, 0);
  const auto a = finalTensors(RunFolder::open(whole).value());
  const auto b = finalTensors(RunFolder::open(run).value());
  EXPECT_EQUAL(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT(torch::equal(a[i], b[i]));

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

void severalProcesses() {
  TemporaryFolder folder;
  writeSmallData(folder.path() / "data");
  const std::string data = (folder.path() / "data").string();
  const std::string meeting = freeAddress();
  const auto arguments = [&](const std::string& out, int rank, int size) {
    std::vector<std::string> list{"train", "--data",   data, "--image-size", "8", "--batch",
                                  "20",    "--epochs", "2",  "--threads",    "1"};
    if (!out.empty()) list.insert(list.end(), {"--out", (folder.path() / out).string()});
    if (size > 1) {
      list.insert(list.end(), {"--world-size", std::to_string(size), "--rank", std::to_string(rank),
                               "--rendezvous", meeting});
    }
    return list;
  };
  Finished follower;
  std::thread other([&] { follower = command(arguments("", 1, 2)); });
  const auto leader = command(arguments("two", 0, 2));
  other.join();
  EXPECT_EQUAL(leader.code, 0);
  EXPECT_EQUAL(follower.code, 0);
  EXPECT(follower.out.empty());
  EXPECT_EQUAL(command(arguments("one", 0, 1)).code, 0);
  const auto last = [&](const char* run) {
    std::ifstream log(folder.path() / run / "log.jsonl");
    json found;
    for (std::string line; std::getline(log, line);) {
      const json event = json::parse(line);
      if (event["event"] == "epoch") found = event;
    }
    return found;
  };
  const json one = last("one"), two = last("two");
  EXPECT_EQUAL(one["epoch"].get<int>(), 2);
  EXPECT_EQUAL(two["epoch"].get<int>(), 2);
  for (const char* key : {"loss", "penalty"}) {
    const double a = one[key].get<double>(), b = two[key].get<double>();
    EXPECT(std::abs(a - b) <= 0.01 * std::abs(a));
  }
  EXPECT(std::abs(one["test"]["loss"].get<double>() - two["test"]["loss"].get<double>()) < 0.02);
  // A batch that cannot be shared, and a leader that does not come, are
  // explained.
  EXPECT_EQUAL(command({"train", "--data", data, "--rank", "2", "--world-size", "2"}).code, 2);
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
  EXPECT_EQUAL(std::count(list.out.begin(), list.out.end(), '\n'), 8);
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
  return pillarbox::test::run({{"two processes are one", twoProcessesAreOne},
                               {"learns, and resumes exactly", learnsAndResumesExactly},
                               {"short runs are penalised in full", shortRunsArePenalisedInFull},
                               {"batches fit the images", batchesFitTheImages},
                               {"lost images are counted", reportsLostImages},
                               {"recovers or explains", recoversOrExplains},
                               {"damage is rejected", rejectsDamage},
                               {"killed and resumed", killedAndResumed},
                               {"several processes", severalProcesses},
                               {"paused, continued and stopped from outside", controlled},
                               {"command line", commandLine}});
}

// Fetching, checking and unpacking, from files and from a small HTTP server of the test's own.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <thread>

#include "models/data/download.h"
#include "models/data/readers.h"
#include "tests/training/expect.h"

namespace {

namespace fs = std::filesystem;
using namespace pillarbox;
using namespace pillarbox::data;
using pillarbox::test::TemporaryFolder;

void addMember(std::string& tar, const std::string& name, const std::string& bytes,
               char type = '0') {
  std::array<char, 512> header{};
  std::copy(name.begin(), name.end(), header.begin());
  std::snprintf(header.data() + 124, 12, "%011zo", bytes.size());
  header[156] = type;
  std::snprintf(header.data() + 257, 6, "ustar");
  tar.append(header.data(), header.size());
  tar += bytes;
  tar.append((512 - bytes.size() % 512) % 512, '\0');
}

std::string record(int label) {
  return std::string(1, static_cast<char>(label)) +
         std::string(3072, static_cast<char>(100 + label));
}

// A CIFAR-10 archive with two training images and one test image, and things to ignore.
std::string archiveBytes(const fs::path& scratch) {
  std::string tar;
  addMember(tar, "cifar-10-batches-bin/", "", '5');
  addMember(tar, "cifar-10-batches-bin/data_batch_1.bin", record(3) + record(9));
  addMember(tar, "cifar-10-batches-bin/test_batch.bin", record(4));
  addMember(tar, "cifar-10-batches-bin/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  addMember(tar, "../../../outside.bin", "stays inside");
  addMember(tar, "readme.html", "no data");
  tar.append(1024, '\0');
  const gzFile out = gzopen((scratch / "made.gz").c_str(), "wb");
  gzwrite(out, tar.data(), static_cast<unsigned>(tar.size()));
  gzclose(out);
  std::ifstream in(scratch / "made.gz", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Serves one file to one connection after another until it is destroyed; answers range requests.
class Server {
 public:
  explicit Server(std::string bytes) : m_bytes(std::move(bytes)) {
    m_listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(m_listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(m_listener, 4) != 0) {
      throw std::runtime_error("no local server");
    }
    getsockname(m_listener, reinterpret_cast<sockaddr*>(&address), &size);
    m_port = ntohs(address.sin_port);
    m_thread = std::thread([this] {
      for (int c; (c = accept(m_listener, nullptr, nullptr)) >= 0; close(c)) answer(c);
    });
  }
  ~Server() {
    shutdown(m_listener, SHUT_RDWR);
    close(m_listener);
    m_thread.join();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(m_port) + "/set.tar.gz"; }
  std::size_t sent() const { return m_sent; }

 private:
  void answer(int connection) {
    std::string request;
    char buffer[1024];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = read(connection, buffer, sizeof buffer);
      if (n <= 0) return;
      request.append(buffer, static_cast<std::size_t>(n));
    }
    std::size_t from = 0;
    if (const auto range = request.find("Range: bytes="); range != std::string::npos) {
      from = std::stoul(request.substr(range + 13));
    }
    std::string reply = from == 0 ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 206 Partial Content\r\n";
    if (from > 0) {
      reply += "Content-Range: bytes " + std::to_string(from) + "-" +
               std::to_string(m_bytes.size() - 1) + "/" + std::to_string(m_bytes.size()) + "\r\n";
    }
    const std::string body = m_bytes.substr(from);
    m_sent = body.size();
    reply += "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
    reply += body;
    for (std::size_t at = 0; at < reply.size();) {
      const ssize_t n = send(connection, reply.data() + at, reply.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return;
      at += static_cast<std::size_t>(n);
    }
  }

  std::string m_bytes;
  int m_listener = -1;
  int m_port = 0;
  std::atomic<std::size_t> m_sent{0};
  std::thread m_thread;
};

void checkSet(const fs::path& folder) {
  const auto set = readDataset({folder}, {});
  EXPECT(set.ok());
  if (!set.ok()) return;
  EXPECT_EQUAL(set->train.count(), 2U);
  EXPECT_EQUAL(set->train.labels[1], 9);
  EXPECT_EQUAL(int{set->test.image(0)[5]}, 104);
  EXPECT_EQUAL(set->classes[9], "j");
}

void fetchesAndUnpacks() {
  TemporaryFolder folder;
  const std::string bytes = archiveBytes(folder.path());
  const std::string hash = sha256OfFile(folder.path() / "made.gz").value();
  Server server(bytes);
  const Download what{"cifar10", server.url(), hash, 0};
  const fs::path out = folder.path() / "deep" / "out";
  EXPECT(download(what, out).ok());
  checkSet(out);
  EXPECT(!fs::exists(out / "cifar10.tar.gz") && !fs::exists(out / "readme.html"));
  EXPECT(fs::exists(out / "outside.bin") && !fs::exists(folder.path() / "outside.bin"));

  // Cut off after 100 bytes: only the rest is fetched.
  const fs::path again = folder.path() / "again";
  fs::create_directories(again);
  std::ofstream(again / "cifar10.tar.gz.part", std::ios::binary) << bytes.substr(0, 100);
  EXPECT(download(what, again).ok());
  EXPECT_EQUAL(server.sent(), bytes.size() - 100);
  checkSet(again);

  // Put there by hand: nothing is fetched.
  const fs::path byHand = folder.path() / "hand";
  fs::create_directories(byHand);
  std::ofstream(byHand / "cifar10.tar.gz", std::ios::binary) << bytes;
  EXPECT(download({"cifar10", "http://127.0.0.1:1/none", hash, 0}, byHand).ok());
  checkSet(byHand);
  EXPECT(download({"cifar10", "file://" + (folder.path() / "made.gz").string(), hash, 0},
                  folder.path() / "file")
             .ok());
}

void refusesWhatIsWrong() {
  TemporaryFolder folder;
  const std::string bytes = archiveBytes(folder.path());
  const std::string hash = sha256OfFile(folder.path() / "made.gz").value();
  const fs::path out = folder.path() / "out";
  {
    Server server(bytes + "x");
    const auto wrong = download({"cifar10", server.url(), hash, 0}, out);
    EXPECT(!wrong.ok() && wrong.error().code == ErrorCode::Format);
    EXPECT(!fs::exists(out / "cifar10.tar.gz.part") && !fs::exists(out / "data_batch_1.bin"));
  }
  // Nobody listens at port 1, as without internet.
  const auto offline = download({"cifar10", "http://127.0.0.1:1/set.tar.gz", hash, 0}, out);
  EXPECT(!offline.ok() && offline.error().code == ErrorCode::Unreachable);
  EXPECT(offline.error().message.find("cifar10.tar.gz") != std::string::npos);
  std::atomic<bool> stop{true};
  Server server(bytes);
  const auto stopped = download({"cifar10", server.url(), hash, 0}, folder.path() / "s", {}, &stop);
  EXPECT(!stopped.ok() && stopped.error().code == ErrorCode::Cancelled);
  // Any truncation is noticed by the unpacking too.
  std::ofstream(folder.path() / "cut.gz", std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT(!unpack(folder.path() / "cut.gz", folder.path()).ok());
  for (const auto& known : downloadList()) {
    EXPECT_EQUAL(known.sha256.size(), 64U);
    EXPECT(known.url.starts_with("https://"));
  }
}

}  // namespace

int main() {
  return pillarbox::test::run({{"fetches, continues and unpacks", fetchesAndUnpacks},
                               {"refuses what is wrong", refusesWhatIsWrong}});
}

#include "models/data/download.h"

#include <curl/curl.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

#include <openssl/evp.h>

namespace pillarbox::data {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMaxArchive = std::uint64_t{4} << 30;
constexpr std::uint64_t kMaxMember = std::uint64_t{1} << 30;
constexpr std::size_t kBlock = 512;  // of a tar file

// A transfer under way; libcurl's callbacks get it back.
struct Transfer {
  std::FILE* file = nullptr;
  std::uint64_t before = 0;  // fetched by an earlier attempt
  const DownloadProgress* progress = nullptr;
  const std::atomic<bool>* stop = nullptr;
  Clock::time_point last{};
};

std::size_t onBytes(char* data, std::size_t size, std::size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  return std::fwrite(data, size, count, transfer->file);
}

int onProgress(void* user, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
  auto* transfer = static_cast<Transfer*>(user);
  if (transfer->stop && transfer->stop->load()) return 1;
  const auto time = Clock::now();
  if (*transfer->progress && time - transfer->last > std::chrono::milliseconds(250)) {
    transfer->last = time;
    const auto got = transfer->before + static_cast<std::uint64_t>(now);
    (*transfer->progress)(
        got, total > 0 ? transfer->before + static_cast<std::uint64_t>(total) : std::uint64_t{0});
  }
  return 0;
}

Error unreachable(const Download& what, const fs::path& folder, const std::string& why) {
  return Error{ErrorCode::Unreachable,
               "Could not fetch " + what.url + ": " + why +
                   ". Without internet here, fetch that file elsewhere, copy it to " +
                   (folder / (what.name + ".tar.gz")).string() + " and run this command again."};
}

Status fetch(const Download& what, const fs::path& folder, const fs::path& part,
             const DownloadProgress& progress, const std::atomic<bool>* stop) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) return Error{ErrorCode::Internal, "The HTTP client could not be started."};
  std::error_code error;
  std::uint64_t before = fs::file_size(part, error);
  if (error) before = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(part.c_str(), "ab"),
                                                             std::fclose);
  if (!file) {
    return Error{ErrorCode::Io,
                 "Cannot write " + part.string() + ": " + std::strerror(errno) + "."};
  }
  Transfer transfer{file.get(), before, &progress, stop};
  const auto set = [&](CURLoption option, auto value) {
    curl_easy_setopt(curl.get(), option, value);
  };
  std::array<char, CURL_ERROR_SIZE> message{};
  set(CURLOPT_URL, what.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "https,http,file");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 5L);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_CONNECTTIMEOUT, 30L);
  set(CURLOPT_LOW_SPEED_LIMIT, 100L);  // stalled for a minute: give up, the rest can wait
  set(CURLOPT_LOW_SPEED_TIME, 60L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_USERAGENT, "pillarbox-train/" PILLARBOX_VERSION);
  set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(kMaxArchive));
  set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(before));
  set(CURLOPT_WRITEFUNCTION, onBytes);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, onProgress);
  set(CURLOPT_XFERINFODATA, &transfer);
  set(CURLOPT_ERRORBUFFER, message.data());
  const CURLcode code = curl_easy_perform(curl.get());
  if (std::fflush(file.get()) != 0) {
    return Error{ErrorCode::Io,
                 "Cannot write " + part.string() + ": " + std::strerror(errno) + "."};
  }
  switch (code) {
    case CURLE_OK:
      return {};
    case CURLE_ABORTED_BY_CALLBACK:
      return Error{ErrorCode::Cancelled, "Fetching " + what.url + " was stopped."};
    case CURLE_WRITE_ERROR:
      return Error{ErrorCode::Io, "The disk is full or refused to write " + part.string() + "."};
    case CURLE_RANGE_ERROR:
    case CURLE_BAD_DOWNLOAD_RESUME: {
      fs::remove(part, error);
      return Error{ErrorCode::Unreachable,
                   "The server could not continue an earlier attempt; run the command again."};
    }
    default:
      return unreachable(what, folder,
                         message[0] != 0 ? std::string(message.data()) : curl_easy_strerror(code));
  }
}

std::uint64_t octal(const char* field, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size && field[i] != 0; ++i) {
    if (field[i] >= '0' && field[i] <= '7') {
      value = value * 8 + static_cast<std::uint64_t>(field[i] - '0');
    }
  }
  return value;
}

}  // namespace

const std::vector<Download>& downloadList() {
  static const std::vector<Download> list{
      {"cifar10", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
       "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170052171},
      {"cifar100", "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
       "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", 168513733}};
  return list;
}

Result<std::string> sha256OfFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (!hash || EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) != 1) {
    return Error{ErrorCode::Internal, "SHA-256 is not available."};
  }
  std::vector<char> buffer(1 << 16);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    if (in.gcount() > 0) {
      EVP_DigestUpdate(hash.get(), buffer.data(), static_cast<std::size_t>(in.gcount()));
    }
  }
  if (!in.eof()) return Error{ErrorCode::Io, "Cannot read " + path.string() + "."};
  std::array<unsigned char, 32> digest{};
  EVP_DigestFinal_ex(hash.get(), digest.data(), nullptr);
  std::string text;
  for (const unsigned char byte : digest) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", byte);
    text += pair;
  }
  return text;
}

Status unpack(const fs::path& archive, const fs::path& folder) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> in(gzopen(archive.c_str(), "rb"), gzclose);
  if (!in) return Error{ErrorCode::Io, "Cannot read " + archive.string() + "."};
  const Error damaged{ErrorCode::Format, archive.string() + " is damaged or no .tar.gz file."};
  std::array<char, kBlock> header{};
  std::vector<char> block(1 << 16);
  int found = 0;
  while (true) {
    const int got = gzread(in.get(), header.data(), kBlock);
    if (got == 0 || (got == static_cast<int>(kBlock) && header[0] == 0)) break;
    if (got != static_cast<int>(kBlock) || std::memcmp(&header[257], "ustar", 5) != 0) {
      return damaged;
    }
    const std::uint64_t size = octal(&header[124], 12);
    if (size > kMaxMember) return damaged;
    const std::string path(header.data(), strnlen(header.data(), 100));
    const fs::path name = fs::path(path).filename();
    const char type = header[156];
    const bool wanted = (type == '0' || type == 0) && !name.empty() &&
                        name.string().front() != '.' &&
                        (name.extension() == ".bin" || name.extension() == ".txt");
    std::ofstream out;
    if (wanted) {
      out.open(folder / name, std::ios::binary | std::ios::trunc);
      if (!out) return Error{ErrorCode::Io, "Cannot write " + (folder / name).string() + "."};
      ++found;
    }
    std::uint64_t left = size;
    while (left > 0) {
      const auto part = static_cast<unsigned>(std::min<std::uint64_t>(left, block.size()));
      if (gzread(in.get(), block.data(), part) != static_cast<int>(part)) return damaged;
      if (wanted) out.write(block.data(), part);
      left -= part;
    }
    if (wanted && !out.flush()) {
      return Error{ErrorCode::Io, "Cannot write " + (folder / name).string() + "."};
    }
    const auto padding = static_cast<unsigned>((kBlock - size % kBlock) % kBlock);
    if (padding && gzread(in.get(), block.data(), padding) != static_cast<int>(padding)) {
      return damaged;
    }
  }
  if (found == 0) return Error{ErrorCode::Format, archive.string() + " holds no data set."};
  return {};
}

Status download(const Download& what, const fs::path& folder, const DownloadProgress& progress,
                const std::atomic<bool>* stop) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return Error{ErrorCode::Io, "Cannot create " + folder.string() + ": " + error.message() + "."};
  }
  const fs::path archive = folder / (what.name + ".tar.gz");
  const auto matches = [&](const fs::path& file) -> Result<bool> {
    PILLARBOX_ASSIGN(const std::string hash, sha256OfFile(file));
    return hash == what.sha256;
  };
  bool there = false;
  if (fs::exists(archive, error)) {
    PILLARBOX_ASSIGN(there, matches(archive));
  }
  if (!there) {
    const fs::path part = archive.string() + ".part";
    PILLARBOX_TRY(fetch(what, folder, part, progress, stop));
    PILLARBOX_ASSIGN(const bool good, matches(part));
    if (!good) {
      fs::remove(part, error);
      return Error{ErrorCode::Format, "What " + what.url +
                                          " sent is not the file that was expected (its SHA-256 is "
                                          "another); it was deleted."};
    }
    fs::rename(part, archive, error);
    if (error) return Error{ErrorCode::Io, "Cannot rename " + part.string() + "."};
  }
  PILLARBOX_TRY(unpack(archive, folder));
  fs::remove(archive, error);
  return {};
}

}  // namespace pillarbox::data

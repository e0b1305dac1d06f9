// A few lines of test framework for processes that cannot hold QtTest (see CMakeLists.txt).
#pragma once

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace pillarbox::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline void report(const char* file, int line, const std::string& what) {
  std::cerr << file << ":" << line << ": " << what << "\n";
  ++failures();
}

/// Runs every case; the process's return code.
inline int run(const std::vector<std::pair<std::string, std::function<void()>>>& cases) {
  for (const auto& [name, body] : cases) {
    const int before = failures();
    try {
      body();
    } catch (const std::exception& e) {
      report(name.c_str(), 0, std::string("threw ") + e.what());
    }
    std::cout << (failures() == before ? "PASS " : "FAIL ") << name << std::endl;
  }
  return failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/// An empty folder that is removed with its contents.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pillarbox-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make a temporary folder");
    m_path = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(m_path, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return m_path; }

 private:
  std::filesystem::path m_path;
};

}  // namespace pillarbox::test

#define EXPECT(condition)                                                                   \
  do {                                                                                      \
    if (!(condition)) pillarbox::test::report(__FILE__, __LINE__, "not true: " #condition); \
  } while (false)

#define EXPECT_EQUAL(actual, expected)                                                  \
  do {                                                                                  \
    const auto expectActual = (actual);                                                 \
    const auto expectExpected = (expected);                                             \
    if (!(expectActual == expectExpected)) {                                            \
      std::cerr << "  got " << expectActual << ", expected " << expectExpected << "\n"; \
      pillarbox::test::report(__FILE__, __LINE__, #actual " differs from " #expected);  \
    }                                                                                   \
  } while (false)

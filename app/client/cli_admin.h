// `pillarbox-cli admin`: the models of an engine, from a terminal or a script.
#pragma once

#include <memory>

#include <CLI/CLI.hpp>

#include "engine/core/result.h"

namespace pillarbox::client {

class AdminCommands {
 public:
  /// Adds the command with its subcommands.
  explicit AdminCommands(CLI::App& app);
  ~AdminCommands();
  AdminCommands(const AdminCommands&) = delete;
  AdminCommands& operator=(const AdminCommands&) = delete;

  /// Whether one of them was given.
  bool parsed() const;
  /// Does what was asked and prints the result on stdout.
  Status run();

 private:
  struct Flags;
  std::unique_ptr<Flags> m_flags;
};

}  // namespace pillarbox::client

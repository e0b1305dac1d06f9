// The models that an engine offers to those who connect now. An administrator changes the list
// while sessions run; a session keeps the model that it opened, whatever becomes of the list.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/inference/executor.h"

namespace pillarbox::service {

using ModelList = std::vector<std::shared_ptr<const inference::EngineModel>>;

/// Any thread may call any function.
class ServedModels {
 public:
  /// The first one is what a client gets that names none. No two have the same hash.
  std::shared_ptr<const ModelList> current() const {
    const std::lock_guard lock(m_mutex);
    return m_models;
  }
  void replace(ModelList models) {
    auto next = std::make_shared<const ModelList>(std::move(models));
    const std::lock_guard lock(m_mutex);
    m_models = std::move(next);
  }

 private:
  mutable std::mutex m_mutex;
  std::shared_ptr<const ModelList> m_models = std::make_shared<const ModelList>();
};

}  // namespace pillarbox::service

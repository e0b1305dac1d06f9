#include "models/pillar/polynomial_fit.h"

#include <glpk.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include <queue>

namespace pillarbox::models::pillar {

namespace {

using Clock = std::chrono::steady_clock;
using Vector = std::vector<double>;
constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// The samples, and the basis functions that are free, scaled so that coefficients are integers.
struct Problem {
  Vector target;                      // what the free coefficients have to make
  Vector weights;                     // of the samples; they sum to 1
  std::vector<Vector> columns;        // [free coefficient][sample]
  std::vector<std::uint32_t> powers;  // exponent of each column

  std::size_t samples() const { return target.size(); }
  std::size_t unknowns() const { return columns.size(); }

  Vector residual(const Vector& integers) const {
    Vector result = target;
    for (std::size_t c = 0; c < unknowns(); ++c) {
      for (std::size_t i = 0; i < samples(); ++i) result[i] -= integers[c] * columns[c][i];
    }
    return result;
  }
};

double norm(const Problem& problem, const Vector& residual, FitNorm kind) {
  double sum = 0, greatest = 0;
  for (std::size_t i = 0; i < residual.size(); ++i) {
    const double e = std::abs(residual[i]);
    sum += problem.weights[i] * (kind == FitNorm::LeastSquares ? e * e : e);
    greatest = std::max(greatest, e);
  }
  return kind == FitNorm::LInfinity ? greatest : sum;
}

/// Orthonormal columns q and upper triangular r of the weighted basis, by modified Gram-Schmidt
/// done twice (which is as accurate as Householder for these few columns).
struct Decomposition {
  std::vector<Vector> r;  // [row][column]
  Vector projection;      // q^T target
  double rest = 0;        // |target|^2 outside the columns' span
};

Decomposition decompose(const Problem& problem) {
  const std::size_t n = problem.unknowns(), m = problem.samples();
  const auto dot = [&](const Vector& a, const Vector& b) {
    long double sum = 0;
    for (std::size_t i = 0; i < m; ++i) {
      sum += static_cast<long double>(problem.weights[i]) * a[i] * b[i];
    }
    return static_cast<double>(sum);
  };
  Decomposition result{std::vector<Vector>(n, Vector(n, 0.0)), Vector(n, 0.0), 0};
  std::vector<Vector> q;
  for (std::size_t c = 0; c < n; ++c) {
    Vector column = problem.columns[c];
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t p = 0; p < c; ++p) {
        const double part = dot(q[p], column);
        result.r[p][c] += part;
        for (std::size_t i = 0; i < m; ++i) column[i] -= part * q[p][i];
      }
    }
    const double length = std::sqrt(dot(column, column));
    result.r[c][c] = length;
    for (double& value : column) value /= length;
    q.push_back(std::move(column));
  }
  Vector rest = problem.target;
  for (std::size_t c = 0; c < n; ++c) {
    result.projection[c] = dot(q[c], rest);
    for (std::size_t i = 0; i < m; ++i) rest[i] -= result.projection[c] * q[c][i];
  }
  result.rest = dot(rest, rest);
  return result;
}

Vector solveReal(const Decomposition& d) {
  const std::size_t n = d.projection.size();
  Vector x(n);
  for (std::size_t row = n; row-- > 0;) {
    double sum = d.projection[row];
    for (std::size_t c = row + 1; c < n; ++c) sum -= d.r[row][c] * x[c];
    x[row] = sum / d.r[row][row];
  }
  return x;
}

/// Schnorr-Euchner enumeration: the integers nearest to the target in the lattice of the columns.
class Enumeration {
 public:
  Enumeration(const Decomposition& d, Clock::time_point deadline)
      : m_d(d), m_deadline(deadline), m_x(d.projection.size(), 0) {}

  /// Returns false if time ran out; best() is then what was found so far.
  bool run() {
    descend(m_x.size(), 0);
    return !m_stopped;
  }
  const Vector& best() const { return m_best; }
  std::uint64_t nodes() const { return m_nodes; }

 private:
  void descend(std::size_t level, double fixed) {
    if (level == 0) {
      if (fixed < m_radius) {
        m_radius = fixed;
        m_best = m_x;
      }
      return;
    }
    const std::size_t row = level - 1;
    double center = m_d.projection[row];
    for (std::size_t c = level; c < m_x.size(); ++c) center -= m_d.r[row][c] * m_x[c];
    center /= m_d.r[row][row];
    const double first = std::round(center);
    const double side = center >= first ? 1 : -1;
    // Nearest first: first, first + side, first - side, first + 2 side, ...
    for (int step = 0;; ++step) {
      const double offset = step % 2 == 1 ? (step + 1) / 2 : -step / 2;
      const double value = first + side * offset;
      const double gap = (center - value) * m_d.r[row][row];
      const double total = fixed + gap * gap;
      if (total >= m_radius) return;  // and so are all that follow
      if ((++m_nodes & 0xfff) == 0 && Clock::now() > m_deadline) m_stopped = true;
      if (m_stopped) return;
      m_x[row] = value;
      descend(row, total);
    }
  }

  const Decomposition& m_d;
  Clock::time_point m_deadline;
  Vector m_x, m_best;
  double m_radius = kInfinite;
  std::uint64_t m_nodes = 0;
  bool m_stopped = false;
};

/// The linear program of L1 or L-infinity in real coefficients with bounds.
class Relaxation {
 public:
  Relaxation(const Problem& problem, FitNorm kind)
      : m_problem(problem), m_kind(kind), m_lp(glp_create_prob(), glp_delete_prob) {
    const int n = static_cast<int>(problem.unknowns()), m = static_cast<int>(problem.samples());
    const int errors = kind == FitNorm::L1 ? m : 1;
    glp_set_obj_dir(m_lp.get(), GLP_MIN);
    glp_add_cols(m_lp.get(), n + errors);
    for (int c = 1; c <= n; ++c) glp_set_col_bnds(m_lp.get(), c, GLP_FR, 0, 0);
    for (int e = 1; e <= errors; ++e) {
      glp_set_col_bnds(m_lp.get(), n + e, GLP_LO, 0, 0);
      glp_set_obj_coef(m_lp.get(), n + e,
                       kind == FitNorm::L1 ? problem.weights[static_cast<std::size_t>(e - 1)] : 1);
    }
    // columns * x - error <= target and columns * x + error >= target. Columns are scaled to one.
    glp_add_rows(m_lp.get(), 2 * m);
    for (const Vector& column : problem.columns) {
      double greatest = 0;
      for (const double value : column) greatest = std::max(greatest, std::abs(value));
      m_scales.push_back(greatest);
    }
    std::vector<int> index(static_cast<std::size_t>(n) + 2);
    Vector value(index.size());
    for (int i = 0; i < m; ++i) {
      const auto sample = static_cast<std::size_t>(i);
      for (int c = 1; c <= n; ++c) {
        const auto column = static_cast<std::size_t>(c - 1);
        index[static_cast<std::size_t>(c)] = c;
        value[static_cast<std::size_t>(c)] = problem.columns[column][sample] / m_scales[column];
      }
      const auto last = static_cast<std::size_t>(n) + 1;
      index[last] = kind == FitNorm::L1 ? n + 1 + i : n + 1;
      value[last] = -1;
      glp_set_mat_row(m_lp.get(), 2 * i + 1, n + 1, index.data(), value.data());
      glp_set_row_bnds(m_lp.get(), 2 * i + 1, GLP_UP, 0, problem.target[sample]);
      value[last] = 1;
      glp_set_mat_row(m_lp.get(), 2 * i + 2, n + 1, index.data(), value.data());
      glp_set_row_bnds(m_lp.get(), 2 * i + 2, GLP_LO, problem.target[sample], 0);
    }
  }

  struct Solution {
    double value = kInfinite;
    Vector coefficients;
  };

  /// The optimum with lower[c] <= coefficient c <= upper[c]; value is infinite if there is none.
  Solution solve(const Vector& lower, const Vector& upper) {
    const auto n = m_problem.unknowns();
    for (std::size_t c = 0; c < n; ++c) {
      const int type = lower[c] == upper[c]                           ? GLP_FX
                       : std::isinf(lower[c]) && std::isinf(upper[c]) ? GLP_FR
                       : std::isinf(lower[c])                         ? GLP_UP
                       : std::isinf(upper[c])                         ? GLP_LO
                                                                      : GLP_DB;
      glp_set_col_bnds(m_lp.get(), static_cast<int>(c) + 1, type,
                       std::isinf(lower[c]) ? 0 : lower[c] * m_scales[c],
                       std::isinf(upper[c]) ? 0 : upper[c] * m_scales[c]);
    }
    glp_smcp parameters;
    glp_init_smcp(&parameters);
    parameters.msg_lev = GLP_MSG_OFF;
    parameters.meth = GLP_DUALP;
    parameters.tol_bnd = parameters.tol_dj = 1e-9;
    Solution solution;
    if (glp_simplex(m_lp.get(), &parameters) != 0 || glp_get_status(m_lp.get()) != GLP_OPT) {
      // A basis that went bad: once more from scratch before the branch counts as empty.
      glp_std_basis(m_lp.get());
      if (glp_simplex(m_lp.get(), &parameters) != 0 || glp_get_status(m_lp.get()) != GLP_OPT) {
        return solution;
      }
    }
    solution.value = glp_get_obj_val(m_lp.get());
    for (std::size_t c = 0; c < n; ++c) {
      solution.coefficients.push_back(glp_get_col_prim(m_lp.get(), static_cast<int>(c) + 1) /
                                      m_scales[c]);
    }
    return solution;
  }

 private:
  const Problem& m_problem;
  FitNorm m_kind;
  std::unique_ptr<glp_prob, void (*)(glp_prob*)> m_lp;
  Vector m_scales;
};

struct Node {
  double bound = 0;
  Vector lower, upper, relaxed;
  bool operator<(const Node& other) const { return bound > other.bound; }  // least bound first
};

Vector rounded(const Vector& values) {
  Vector result = values;
  for (double& value : result) value = std::round(value);
  return result;
}

/// Best-first branch and bound. Sets outcome's error, bound and nodes; returns the integers.
Vector branchAndBound(const Problem& problem, FitNorm kind, const Vector& start,
                      Clock::time_point deadline, FitOutcome* outcome) {
  Relaxation relaxation(problem, kind);
  const std::size_t n = problem.unknowns();
  Vector best = rounded(start);
  double bestError = norm(problem, problem.residual(best), kind);

  std::priority_queue<Node> open;
  const auto add = [&](Vector lower, Vector upper) {
    ++outcome->nodes;
    Relaxation::Solution solution = relaxation.solve(lower, upper);
    if (solution.value >= bestError) return;
    // Rounding the relaxation gives a candidate at every node, evaluated exactly.
    const Vector candidate = rounded(solution.coefficients);
    const double error = norm(problem, problem.residual(candidate), kind);
    if (error < bestError) {
      bestError = error;
      best = candidate;
    }
    open.push(
        {solution.value, std::move(lower), std::move(upper), std::move(solution.coefficients)});
  };
  add(Vector(n, -kInfinite), Vector(n, kInfinite));
  outcome->bound = open.empty() ? bestError : open.top().bound;
  while (!open.empty()) {
    const Node node = open.top();
    outcome->bound = std::min(node.bound, bestError);
    if (node.bound >= bestError * (1 - 1e-10)) break;
    if (Clock::now() > deadline) {
      outcome->error = bestError;
      return best;
    }
    open.pop();
    // Branch on the highest power that is not an integer: the steepest decides most.
    std::size_t branch = n;
    for (std::size_t c = n; c-- > 0 && branch == n;) {
      if (std::abs(node.relaxed[c] - std::round(node.relaxed[c])) > 1e-7) branch = c;
    }
    if (branch == n) {
      // Integers up to the solver's tolerance, evaluated when the node was made. Where the exact
      // value is worse than the node's bound, fix the coefficients one by one.
      for (std::size_t c = n; c-- > 0 && branch == n;) {
        if (node.lower[c] != node.upper[c]) branch = c;
      }
      if (branch == n) continue;
      Vector lower = node.lower, upper = node.upper;
      const double value = std::round(node.relaxed[branch]);
      lower[branch] = upper[branch] = value;
      add(lower, upper);
      lower = node.lower;
      upper = node.upper;
      upper[branch] = value - 1;
      if (lower[branch] <= upper[branch]) add(lower, upper);
      upper = node.upper;
      lower[branch] = value + 1;
      if (lower[branch] <= upper[branch]) add(lower, upper);
      continue;
    }
    Vector upper = node.upper, lower = node.lower;
    upper[branch] = std::floor(node.relaxed[branch]);
    add(node.lower, std::move(upper));
    lower[branch] = std::floor(node.relaxed[branch]) + 1;
    add(std::move(lower), node.upper);
  }
  if (open.empty()) outcome->bound = bestError;
  if (outcome->bound >= bestError * (1 - 1e-10)) outcome->bound = bestError;
  outcome->error = bestError;
  return best;
}

Status check(const FitRequest& request, std::size_t values) {
  const auto bad = [](std::string message) {
    return Error{ErrorCode::InvalidArgument, std::move(message)};
  };
  if (request.degree < 1 || request.degree > 8) return bad("the degree must be 1 to 8");
  if (request.fractionBits > 24) return bad("coefficients can have at most 24 fraction bits");
  if (!(request.range > 0) || !(request.range <= 1024))
    return bad("the range must be in (0, 1024]");
  if (!(request.scale > 0) || std::exp2(std::round(std::log2(request.scale))) != request.scale) {
    return bad("the scale must be a power of two");
  }
  if (request.points % 2 == 0 || request.points < 3 * (request.degree + 1) ||
      request.points > 100001) {
    return bad("the number of points must be odd, at least " +
               std::to_string(3 * (request.degree + 1)) + " and at most 100001");
  }
  if (values != request.points) return bad("there must be one value for each point");
  return {};
}

double at(const FitRequest& request, std::size_t i) {
  return request.range * (2.0 * static_cast<double>(i) / (request.points - 1) - 1.0);
}

/// The multiple of 2^-p that, times x, is the target's whole odd part; nothing if none is.
std::optional<double> oddSlope(const FitRequest& request, const Vector& values) {
  const std::size_t n = values.size();
  const auto odd = [&](std::size_t i) { return (values[i] - values[n - 1 - i]) / 2; };
  const double step = std::ldexp(1, -static_cast<int>(request.fractionBits)) / request.scale;
  const double slope = std::round(odd(n - 1) / request.range / step) * step;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::abs(odd(i) - slope * at(request, i)) > 1e-12 * (1 + request.range)) return {};
  }
  return slope;
}

}  // namespace

const char* toString(FitNorm norm) {
  switch (norm) {
    case FitNorm::LeastSquares:
      return "l2";
    case FitNorm::L1:
      return "l1";
    case FitNorm::LInfinity:
      return "linf";
  }
  return "l2";
}

double relu(double x) {
  return std::max(x, 0.0);
}

double evaluateFit(const FitRequest& request, const std::vector<std::int64_t>& coefficients,
                   double x) {
  double value = 0;
  for (std::size_t j = coefficients.size(); j-- > 0;) {
    value = value * (x / request.scale) + static_cast<double>(coefficients[j]);
  }
  return std::ldexp(value, -static_cast<int>(request.fractionBits));
}

Result<FitOutcome> fitPolynomial(const FitRequest& request,
                                 const std::function<double(double)>& target) {
  Vector values;
  for (std::size_t i = 0; i < request.points; ++i) values.push_back(target(at(request, i)));
  return fitPolynomial(request, values);
}

Result<FitOutcome> fitPolynomial(const FitRequest& request, const std::vector<double>& values) {
  PILLARBOX_TRY(check(request, values.size()));
  for (const double value : values) {
    if (!std::isfinite(value)) {
      return Error{ErrorCode::InvalidArgument, "the function has a value that is not finite"};
    }
  }
  const auto start = Clock::now();
  const auto deadline = start + std::chrono::duration_cast<Clock::duration>(
                                    std::chrono::duration<double>(request.secondsLimit));
  const double unit = std::ldexp(1, -static_cast<int>(request.fractionBits));

  const std::optional<double> slope = oddSlope(request, values);
  Problem problem;
  for (std::uint32_t j = 0; j <= request.degree; ++j) {
    if (!slope || j % 2 == 0) problem.powers.push_back(j);
  }
  problem.columns.resize(problem.powers.size());
  // An even problem has the same residual at x and -x: half of the samples, with double weight.
  const std::size_t first = slope ? values.size() / 2 : 0;
  for (std::size_t i = first; i < values.size(); ++i) {
    const double x = at(request, i);
    problem.target.push_back(values[i] - (slope ? *slope * x : 0));
    const bool center = slope && i == first;
    problem.weights.push_back((slope && !center ? 2.0 : 1.0) / static_cast<double>(values.size()));
    for (std::size_t c = 0; c < problem.powers.size(); ++c) {
      problem.columns[c].push_back(unit * std::pow(x / request.scale, problem.powers[c]));
    }
  }

  FitOutcome outcome;
  const Decomposition decomposition = decompose(problem);
  Vector real = solveReal(decomposition);
  Vector integers;
  if (request.norm == FitNorm::LeastSquares) {
    Enumeration search(decomposition, deadline);
    const bool complete = search.run();
    integers = search.best();
    outcome.nodes = search.nodes();
    outcome.error = norm(problem, problem.residual(integers), request.norm);
    outcome.bound = complete ? outcome.error : decomposition.rest;
  } else {
    const std::size_t n = problem.unknowns();
    Relaxation relaxation(problem, request.norm);
    Relaxation::Solution solution = relaxation.solve(Vector(n, -kInfinite), Vector(n, kInfinite));
    if (solution.coefficients.empty()) {
      return Error{ErrorCode::Internal, "the linear program of the real fit was not solved"};
    }
    real = std::move(solution.coefficients);
    integers = branchAndBound(problem, request.norm, real, deadline, &outcome);
  }
  outcome.realError = norm(problem, problem.residual(real), request.norm);
  outcome.roundedError = norm(problem, problem.residual(rounded(real)), request.norm);

  outcome.coefficients.assign(request.degree + 1, 0);
  outcome.realCoefficients.assign(request.degree + 1, 0);
  for (std::size_t c = 0; c < problem.powers.size(); ++c) {
    outcome.coefficients[problem.powers[c]] = std::llround(integers[c]);
    outcome.realCoefficients[problem.powers[c]] = real[c] * unit;
  }
  if (slope) {
    outcome.coefficients[1] = std::llround(*slope * request.scale / unit);
    outcome.realCoefficients[1] = *slope * request.scale;
  }
  outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return outcome;
}

}  // namespace pillarbox::models::pillar

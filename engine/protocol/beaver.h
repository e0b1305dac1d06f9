// Products of shared values with Beaver triples, what the classic protocols are made of.
//
// Every value that is a factor somewhere gets one mask a (each party draws a share of it) and is
// opened once as eps = x - a. For every product x y the parties hold shares of a b, and
//
//   x y = eps_x eps_y + eps_x b + eps_y a + a b
//
// is linear in what is shared; the engine adds the first term. That is Beaver's triple for one
// product, and saves openings where a value is a factor of several, as z is here.
//
// Of a b = (a_0 + a_1)(b_0 + b_1) either party multiplies its own shares by itself; the offline
// phase gives shares of a_0 b_1 + b_0 a_1 (engine/offline/products.h).
//
// What each party sees: the other's share of x - a, and so eps, under a mask that neither knows
// whole and that serves one value. Uniform words simulate it. How the shares of a b are made, and
// what that shows: engine/offline.
//
// Cost: 8 bytes a value and opening in each direction. An opening waits for the other side's.
// Source: Beaver, CRYPTO 1991; in fixed point as SecureML (eprint 2017/396) and CrypTen.
#pragma once

#include <utility>
#include <vector>

#include "engine/protocol/activation.h"

namespace pillarbox::protocol {

/// One party's side of a sequence of openings and products.
class Multiplier {
 public:
  virtual ~Multiplier() = default;

  /// Opens factors, by mask number: one message of all of them in each direction.
  struct Factor {
    std::size_t mask;
    std::span<const std::uint64_t> share;
  };
  Status open(const Wire& wire, std::span<const Factor> factors);

  /// A share of the product of two opened factors, before truncation.
  /// @param product  number of the dealt product
  Words multiply(std::size_t product, std::size_t left, std::size_t right) const;

  /// This party's truncation by `bits`, in place.
  virtual void truncate(std::span<std::uint64_t> share, std::uint32_t bits) const = 0;
  /// Adds a public constant to the shared values.
  virtual void addConstant(std::span<std::uint64_t> share, std::uint64_t constant) const = 0;

  std::vector<Words> masks;     // shares of the masks
  std::vector<Words> products;  // shares of the masks' products

  /// Both from a set. @param pairs  the products by mask numbers
  void take(offline::ProductShares shares,
            std::span<const std::pair<std::size_t, std::size_t>> pairs);

 protected:
  /// Adds eps_x eps_y where it is this party's to add.
  virtual void addOpened(std::span<const std::uint64_t> left, std::span<const std::uint64_t> right,
                         std::span<std::uint64_t> share) const = 0;

 private:
  std::vector<Words> m_opened;  // eps by mask number
};

/// A protocol whose parties run the same program on a Multiplier.
class BeaverActivation : public Activation {
 public:
  BeaverActivation(const models::Polynomial& polynomial, std::uint32_t f, double bound);

  Cost cost(std::uint64_t values) const override;
  const offline::ProductPlan* products() const override { return &m_plan; }
  std::unique_ptr<ClientActivation> client(offline::ClientStage correlations) const override;
  std::unique_ptr<EngineActivation> engine(offline::EngineStage correlations) const override;

 protected:
  /// Evaluates the polynomial at the shares z. @param out  as long as z
  virtual Status run(const Wire& wire, Multiplier& multiplier, std::span<const std::uint64_t> z,
                     std::span<std::uint64_t> out) const = 0;

  std::uint64_t coefficient(std::uint32_t k) const {
    return static_cast<std::uint64_t>(m_polynomial.coefficients[k]);
  }

  /// Derives the rest from what the protocol's constructor has set.
  void finish();

  // Set by the constructor of the protocol:
  std::uint32_t m_levels = 0;  // openings that wait for each other
  std::size_t m_masks = 0;
  std::vector<std::pair<std::size_t, std::size_t>> m_products;  // by mask numbers

  models::Polynomial m_polynomial;
  std::uint32_t m_f;
  double m_bound;

 private:
  struct Client;
  struct Engine;
  offline::ProductPlan m_plan;
};

}  // namespace pillarbox::protocol

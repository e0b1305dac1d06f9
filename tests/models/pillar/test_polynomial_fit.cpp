// Quantised fits against a known answer, exhaustive search, and the properties a proof implies.
#include <cmath>

#include <QTest>

#include "models/pillar/polynomial_fit.h"

using namespace pillarbox;
using namespace pillarbox::models::pillar;

namespace {

double errorOf(const FitRequest& request, const std::vector<std::int64_t>& coefficients,
               const std::function<double(double)>& target) {
  double sum = 0, greatest = 0;
  for (std::uint32_t i = 0; i < request.points; ++i) {
    const double x = request.range * (2.0 * i / (request.points - 1) - 1.0);
    const double e = std::abs(target(x) - evaluateFit(request, coefficients, x));
    sum += request.norm == FitNorm::LeastSquares ? e * e : e;
    greatest = std::max(greatest, e);
  }
  return request.norm == FitNorm::LInfinity ? greatest : sum / request.points;
}

}  // namespace

class TestPolynomialFit : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  // The coefficients that the PILLAR authors ship for degree 4, [-5, 5], ten bits.
  void knownAnswer() {
    FitRequest request;
    const auto fit = fitPolynomial(request, relu);
    QVERIFY(fit.ok());
    QCOMPARE(fit->coefficients, (std::vector<std::int64_t>{322, 512, 160, 0, -3}));
    QVERIFY(fit->optimal());
  }

  // Every integer triple near the real optimum of a small problem, tried one by one.
  void noNeighbourIsBetter_data() {
    QTest::addColumn<int>("norm");
    QTest::newRow("l2") << static_cast<int>(FitNorm::LeastSquares);
    QTest::newRow("l1") << static_cast<int>(FitNorm::L1);
    QTest::newRow("linf") << static_cast<int>(FitNorm::LInfinity);
  }
  void noNeighbourIsBetter() {
    QFETCH(int, norm);
    FitRequest request;
    request.norm = static_cast<FitNorm>(norm);
    request.points = 61;
    request.fractionBits = 6;
    const auto fit = fitPolynomial(request, relu);
    QVERIFY(fit.ok());
    QVERIFY(fit->optimal());
    QVERIFY(std::abs(errorOf(request, fit->coefficients, relu) - fit->error) < 1e-12);
    const auto& k = fit->coefficients;
    for (std::int64_t a = -20; a <= 20; ++a) {
      for (std::int64_t b = -6; b <= 6; ++b) {
        for (std::int64_t c = -3; c <= 3; ++c) {
          const std::vector<std::int64_t> other = {k[0] + a, k[1], k[2] + b, k[3], k[4] + c};
          QVERIFY(errorOf(request, other, relu) >= fit->error - 1e-12);
        }
      }
    }
  }

  // A function without symmetry: all coefficients are free.
  void oddTermsAreFoundWhereTheyAreNeeded() {
    const auto target = [](double x) { return x / (1 + std::exp(-x)); };  // swish: x/2 + even
    const auto skew = [](double x) { return std::tanh(x) + 0.25 * x * x; };
    FitRequest request;
    request.range = 2;
    request.points = 41;
    const auto even = fitPolynomial(request, target);
    QVERIFY(even.ok());
    QCOMPARE(even->coefficients[1], std::int64_t{512});
    QCOMPARE(even->coefficients[3], std::int64_t{0});
    const auto odd = fitPolynomial(request, skew);
    QVERIFY(odd.ok());
    QVERIFY(odd->optimal());
    QVERIFY(odd->coefficients[3] < 0);  // tanh bends down
    for (std::size_t j = 0; j < odd->coefficients.size(); ++j) {
      for (const int step : {-1, 1}) {
        auto other = odd->coefficients;
        other[j] += step;
        QVERIFY(errorOf(request, other, skew) > odd->error);
      }
    }
  }

  // Plain monomials at ten bits are too coarse above degree 4; scaled ones are not.
  void scaledMonomialsGainFromHigherDegrees() {
    FitRequest request;
    double previous = 1e9;
    for (const std::uint32_t degree : {2U, 4U, 6U, 8U}) {
      request.degree = degree;
      request.scale = 4;
      const auto fit = fitPolynomial(request, relu);
      QVERIFY(fit.ok());
      QVERIFY(fit->error < 0.6 * previous);
      QVERIFY(fit->error < 1.001 * fit->realError);
      previous = fit->error;
    }
    request.scale = 1;
    const auto plain = fitPolynomial(request, relu);
    QVERIFY(plain->error > 5 * previous);
  }

  void searchBeatsRounding() {
    FitRequest request;
    const auto fit = fitPolynomial(request, relu);
    QVERIFY(fit->error < 0.7 * fit->roundedError);
    QVERIFY(fit->error >= fit->realError);
    QVERIFY(fit->bound >= fit->realError);
  }

  void aStoppedSearchStatesItsGap() {
    FitRequest request;
    request.norm = FitNorm::LInfinity;
    request.degree = 8;
    request.scale = 4;
    request.secondsLimit = 0;
    const auto fit = fitPolynomial(request, relu);
    QVERIFY(fit.ok());
    QVERIFY(!fit->optimal());
    QVERIFY(fit->bound > 0 && fit->bound < fit->error);
  }

  void badRequestsAreExplained() {
    FitRequest request;
    request.degree = 9;
    QCOMPARE(fitPolynomial(request, relu).error().code, ErrorCode::InvalidArgument);
    request = {};
    request.points = 100;
    QVERIFY(!fitPolynomial(request, relu).ok());
    request = {};
    request.scale = 3;
    QVERIFY(!fitPolynomial(request, relu).ok());
    request = {};
    QVERIFY(!fitPolynomial(request, [](double) { return std::nan(""); }).ok());
    QVERIFY(!fitPolynomial(request, std::vector<double>(7, 1.0)).ok());
  }
};

QTEST_GUILESS_MAIN(TestPolynomialFit)
#include "test_polynomial_fit.moc"

// Preprocessing: identity where sizes match, the filter against its definition, crops, edges.
#include <cmath>
#include <functional>

#include <QElapsedTimer>
#include <QTest>

#include "models/preprocess.h"
#include "tests/support/random_values.h"

using namespace pillarbox::models;
using pillarbox::ErrorCode;
using pillarbox::testing::RandomValues;

namespace {

const std::vector<float> kMean{0.5F, 0.25F, 0.125F};
const std::vector<float> kStd{0.25F, 0.5F, 2.0F};
const std::vector<float> kZero{0.0F, 0.0F, 0.0F};
const std::vector<float> kOne{1.0F, 1.0F, 1.0F};

/// A picture with rows padded by `extra` bytes of nonsense.
struct Picture {
  std::uint32_t width, height;
  std::size_t stride;
  std::vector<std::uint8_t> bytes;

  Picture(std::uint32_t w, std::uint32_t h, std::size_t extra,
          const std::function<int(std::uint32_t x, std::uint32_t y, int c)>& colour)
      : width(w), height(h), stride(w * 3 + extra), bytes(stride * h, 0xEE) {
    for (std::uint32_t y = 0; y < h; ++y) {
      for (std::uint32_t x = 0; x < w; ++x) {
        for (int c = 0; c < 3; ++c) {
          bytes[y * stride + x * 3 + static_cast<std::size_t>(c)] =
              static_cast<std::uint8_t>(colour(x, y, c));
        }
      }
    }
  }
  RgbImage view() const { return RgbImage{bytes.data(), width, height, stride}; }
  double at(std::uint32_t x, std::uint32_t y, int c) const {
    return bytes[y * stride + x * 3 + static_cast<std::size_t>(c)];
  }
};

Picture noise(std::uint32_t w, std::uint32_t h, std::uint64_t seed) {
  RandomValues random(seed);
  return Picture(w, h, 5, [&](auto, auto, int) { return static_cast<int>(random.below(256)); });
}

/// The value of one output pixel from the definition: a two-dimensional triangle filter over all
/// source pixels, normalised.
double filtered(const Picture& picture, double scaledW, double scaledH, double x, double y, int c) {
  const double ratioX = picture.width / scaledW;
  const double ratioY = picture.height / scaledH;
  const double supportX = std::max(1.0, ratioX);
  const double supportY = std::max(1.0, ratioY);
  double sum = 0;
  double weights = 0;
  for (std::uint32_t v = 0; v < picture.height; ++v) {
    for (std::uint32_t u = 0; u < picture.width; ++u) {
      const double dx = std::abs((u + 0.5) - (x + 0.5) * ratioX) / supportX;
      const double dy = std::abs((v + 0.5) - (y + 0.5) * ratioY) / supportY;
      const double w = std::max(0.0, 1 - dx) * std::max(0.0, 1 - dy);
      sum += w * picture.at(u, v, c);
      weights += w;
    }
  }
  return sum / weights;
}

}  // namespace

class TestPreprocess : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void matchingSizeIsOnlyNormalised();
  void filterFollowsItsDefinition_data();
  void filterFollowsItsDefinition();
  void knownAnswers();
  void flatColourStaysFlat();
  void greyModels();
  void refusesWhatItCannotDo();
  void hundredMegapixels();
};

void TestPreprocess::matchingSizeIsOnlyNormalised() {
  const Picture picture = noise(7, 5, 1);
  const auto result = preprocess(picture.view(), Shape{3, 5, 7}, kMean, kStd);
  QVERIFY(result.ok());
  for (std::uint32_t c = 0; c < 3; ++c) {
    for (std::uint32_t y = 0; y < 5; ++y) {
      for (std::uint32_t x = 0; x < 7; ++x) {
        const double expected =
            (picture.at(x, y, static_cast<int>(c)) / 255 - static_cast<double>(kMean[c])) /
            static_cast<double>(kStd[c]);
        QCOMPARE(result->at((c * 5 + y) * 7 + x), static_cast<float>(expected));
      }
    }
  }
}

void TestPreprocess::filterFollowsItsDefinition_data() {
  QTest::addColumn<int>("width");
  QTest::addColumn<int>("height");
  QTest::addColumn<int>("scaledWidth");
  QTest::addColumn<int>("scaledHeight");
  QTest::newRow("halved") << 32 << 32 << 16 << 16;
  QTest::newRow("odd reduction") << 45 << 45 << 16 << 16;
  QTest::newRow("enlarged") << 9 << 9 << 16 << 16;
  QTest::newRow("one pixel") << 1 << 1 << 16 << 16;
  QTest::newRow("landscape, cropped") << 60 << 31 << 30 << 16;
  QTest::newRow("portrait, cropped") << 20 << 67 << 16 << 53;
  QTest::newRow("same height, wider") << 37 << 16 << 37 << 16;
  QTest::newRow("one row") << 40 << 1 << 640 << 16;
}

void TestPreprocess::filterFollowsItsDefinition() {
  QFETCH(int, width);
  QFETCH(int, height);
  QFETCH(int, scaledWidth);
  QFETCH(int, scaledHeight);
  const Picture picture =
      noise(static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height), 9);
  const auto result = preprocess(picture.view(), Shape{3, 16, 16}, kZero, kOne);
  QVERIFY(result.ok());
  const int left = (scaledWidth - 16) / 2;
  const int top = (scaledHeight - 16) / 2;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < 16; ++x) {
        const double expected = filtered(picture, scaledWidth, scaledHeight, left + x, top + y, c);
        const auto actual =
            static_cast<double>(result->at(static_cast<std::size_t>((c * 16 + y) * 16 + x)));
        QVERIFY(std::abs(actual - expected / 255) < 1e-6);
      }
    }
  }
}

void TestPreprocess::knownAnswers() {
  // Halving a row of 0, 0, 0, 0, 200, 200, 200, 200: the triangle is four pixels wide, so that the
  // two middle outputs see an eighth of the other side.
  const Picture step(8, 8, 0, [](auto x, auto, int) { return x < 4 ? 0 : 200; });
  const auto result = preprocess(step.view(), Shape{1, 4, 4}, std::vector<float>{0.0F},
                                 std::vector<float>{1.0F / 255.0F});
  QVERIFY(result.ok());
  const std::vector<double> expected{0, 25, 175, 200};
  for (std::size_t i = 0; i < 16; ++i) {
    QVERIFY(std::abs(static_cast<double>(result->at(i)) - expected[i % 4]) < 1e-3);
  }
}

void TestPreprocess::flatColourStaysFlat() {
  RandomValues random(4);
  for (int i = 0; i < 60; ++i) {
    const auto w = static_cast<std::uint32_t>(1 + random.below(90));
    const auto h = static_cast<std::uint32_t>(1 + random.below(90));
    const Picture picture(w, h, 1, [](auto, auto, int c) { return 51 * (c + 1); });
    const auto result = preprocess(picture.view(), Shape{3, 12, 17}, kZero, kOne);
    QVERIFY(result.ok());
    for (std::size_t k = 0; k < result->size(); ++k) {
      QVERIFY(std::abs(static_cast<double>(result->at(k)) -
                       0.2 * static_cast<double>(k / (12 * 17) + 1)) < 1e-6);
    }
  }
}

void TestPreprocess::greyModels() {
  const Picture picture(4, 4, 0, [](auto, auto, int c) { return c == 0 ? 255 : c == 1 ? 0 : 51; });
  const auto result = preprocess(picture.view(), Shape{1, 4, 4}, std::vector<float>{0.0F},
                                 std::vector<float>{1.0F});
  QVERIFY(result.ok());
  QCOMPARE(result->size(), std::size_t{16});
  for (float v : *result) QVERIFY(std::abs(static_cast<double>(v) - (0.299 + 0.114 * 0.2)) < 1e-6);
}

void TestPreprocess::refusesWhatItCannotDo() {
  const Picture picture = noise(4, 4, 2);
  RgbImage image = picture.view();
  image.width = 0;
  QCOMPARE(preprocess(image, Shape{3, 4, 4}, kMean, kStd).error().code, ErrorCode::InvalidArgument);
  image = picture.view();
  image.stride = 11;
  QCOMPARE(preprocess(image, Shape{3, 4, 4}, kMean, kStd).error().code, ErrorCode::InvalidArgument);
  image = picture.view();
  image.pixels = nullptr;
  QCOMPARE(preprocess(image, Shape{3, 4, 4}, kMean, kStd).error().code, ErrorCode::InvalidArgument);
  QCOMPARE(preprocess(picture.view(), Shape{4, 4, 4}, kMean, kStd).error().code,
           ErrorCode::Unsupported);
  QCOMPARE(preprocess(picture.view(), Shape{1, 4, 4}, kMean, kStd).error().code,
           ErrorCode::InvalidArgument);
}

void TestPreprocess::hundredMegapixels() {
  std::vector<std::uint8_t> bytes(std::size_t{10000} * 10000 * 3, 128);
  QElapsedTimer timer;
  timer.start();
  const auto result =
      preprocess(RgbImage{bytes.data(), 10000, 10000, 30000}, Shape{3, 32, 32}, kZero, kOne);
  QVERIFY(result.ok());
  qInfo("100 megapixels in %lld ms", static_cast<long long>(timer.elapsed()));
  QVERIFY(std::abs(static_cast<double>(result->at(1000)) - 128.0 / 255) < 1e-6);
}

QTEST_GUILESS_MAIN(TestPreprocess)
#include "test_preprocess.moc"

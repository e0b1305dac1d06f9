// Text from a peer must not be able to move a cursor, fake a log line or reverse a sentence.
#include <QTest>

#include "net/text.h"

using pillarbox::net::sanitizeForDisplay;

class TestText : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void sanitizes_data();
  void sanitizes();
  void neverLongerAndAlwaysUtf8();
};

void TestText::sanitizes_data() {
  QTest::addColumn<QByteArray>("in");
  QTest::addColumn<int>("limit");
  QTest::addColumn<QByteArray>("out");
  QTest::newRow("plain") << QByteArray("model not loaded") << 512 << QByteArray("model not loaded");
  QTest::newRow("empty") << QByteArray() << 512 << QByteArray();
  QTest::newRow("umlaut") << QByteArray("größer €") << 512 << QByteArray("größer €");
  QTest::newRow("four bytes") << QByteArray("\xF0\x9F\x98\x80") << 512
                              << QByteArray("\xF0\x9F\x98\x80");
  QTest::newRow("escape") << QByteArray("a\x1b[2Jb") << 512 << QByteArray("a [2Jb");
  QTest::newRow("newline") << QByteArray("a\r\nERROR b") << 512 << QByteArray("a  ERROR b");
  QTest::newRow("nul") << QByteArray("a\0b", 3) << 512 << QByteArray("a b");
  QTest::newRow("C1 CSI") << QByteArray(
                                 "a\xC2\x9B"
                                 "2Jb")
                          << 512 << QByteArray("a 2Jb");
  QTest::newRow("line separator") << QByteArray("a\xE2\x80\xA8z") << 512 << QByteArray("a z");
  QTest::newRow("bidi override") << QByteArray("a\xE2\x80\xAEz") << 512 << QByteArray("az");
  QTest::newRow("zero width") << QByteArray("a\xE2\x80\x8Bz") << 512 << QByteArray("az");
  QTest::newRow("lone continuation") << QByteArray("a\x80z") << 512 << QByteArray("a\xEF\xBF\xBDz");
  QTest::newRow("overlong") << QByteArray("\xC0\xAF") << 512
                            << QByteArray("\xEF\xBF\xBD\xEF\xBF\xBD");
  QTest::newRow("surrogate") << QByteArray("\xED\xA0\x80") << 512
                             << QByteArray("\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  QTest::newRow("cut short") << QByteArray("a\xE2\x82") << 512
                             << QByteArray("a\xEF\xBF\xBD\xEF\xBF\xBD");
  QTest::newRow("exact") << QByteArray("abcdef") << 6 << QByteArray("abcdef");
  QTest::newRow("long") << QByteArray("abcdefg") << 6 << QByteArray("abc\xE2\x80\xA6");
  QTest::newRow("not inside a character") << QByteArray(
                                                 "ab\xE2\x82\xAC"
                                                 "cde")
                                          << 7 << QByteArray("ab\xE2\x80\xA6");
  QTest::newRow("no room for an ellipsis") << QByteArray("abcd") << 2 << QByteArray();
}

void TestText::sanitizes() {
  QFETCH(QByteArray, in);
  QFETCH(int, limit);
  QFETCH(QByteArray, out);
  QCOMPARE(QByteArray::fromStdString(sanitizeForDisplay(in.toStdString(), std::size_t(limit))),
           out);
}

void TestText::neverLongerAndAlwaysUtf8() {
  std::uint32_t state = 12345;
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) {
      state = state * 1664525 + 1013904223;
      text.push_back(static_cast<char>(state >> 24));
    }
    const std::string out = sanitizeForDisplay(text, 32);
    QVERIFY(out.size() <= 32);
    QCOMPARE(sanitizeForDisplay(out, 32), out);  // nothing is left to do
    QCOMPARE(QString::fromUtf8(out.data(), qsizetype(out.size())).toUtf8().toStdString(), out);
  }
}

QTEST_GUILESS_MAIN(TestText)
#include "test_text.moc"

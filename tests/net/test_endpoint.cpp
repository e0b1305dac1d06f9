// HOST:PORT in every spelling that people use, and in those that must be refused.
#include <QTest>

#include "net/endpoint.h"

using namespace pillarbox;
using namespace pillarbox::net;

class TestEndpoint : public QObject {
  Q_OBJECT
 private Q_SLOTS:
  void parses_data();
  void parses();
  void refuses_data();
  void refuses();
};

void TestEndpoint::parses_data() {
  QTest::addColumn<QByteArray>("text");
  QTest::addColumn<bool>("withDefault");
  QTest::addColumn<QByteArray>("host");
  QTest::addColumn<int>("port");
  QTest::newRow("name") << QByteArray("engine.example:7120") << false
                        << QByteArray("engine.example") << 7120;
  QTest::newRow("IPv4") << QByteArray("192.0.2.7:1") << false << QByteArray("192.0.2.7") << 1;
  QTest::newRow("IPv6") << QByteArray("[2001:db8::7]:65535") << false << QByteArray("2001:db8::7")
                        << 65535;
  QTest::newRow("port 0") << QByteArray("localhost:0") << false << QByteArray("localhost") << 0;
  QTest::newRow("star") << QByteArray("*:7120") << false << QByteArray("*") << 7120;
  QTest::newRow("default") << QByteArray("engine") << true << QByteArray("engine") << 7120;
  QTest::newRow("default, brackets") << QByteArray("[::1]") << true << QByteArray("::1") << 7120;
  QTest::newRow("default, bare IPv6")
      << QByteArray("2001:db8::7") << true << QByteArray("2001:db8::7") << 7120;
  QTest::newRow("own port before default")
      << QByteArray("engine:9") << true << QByteArray("engine") << 9;
}

void TestEndpoint::parses() {
  QFETCH(QByteArray, text);
  QFETCH(bool, withDefault);
  QFETCH(QByteArray, host);
  QFETCH(int, port);
  const auto endpoint = parseEndpoint(
      text.toStdString(), withDefault ? std::optional(kDefaultEnginePort) : std::nullopt);
  QVERIFY2(endpoint.ok(), endpoint.ok() ? "" : endpoint.error().message.c_str());
  QCOMPARE(QByteArray::fromStdString(endpoint->host), host);
  QCOMPARE(int(endpoint->port), port);
  const auto again = parseEndpoint(toString(*endpoint));
  QVERIFY(again.ok());
  QVERIFY(*again == *endpoint);
}

void TestEndpoint::refuses_data() {
  QTest::addColumn<QByteArray>("text");
  for (const char* text : {"",
                           ":",
                           ":7120",
                           "engine",
                           "engine:",
                           "engine:x",
                           "engine:-1",
                           "engine:65536",
                           "engine:7120x",
                           "engine: 7120",
                           "::1",
                           "2001:db8::7:7120",
                           "[::1",
                           "[::1]7120",
                           "[]:1",
                           "[engine]:1",
                           "http://engine:7120",
                           "user@engine:1",
                           "eng ine:1",
                           "en\x1b[2Jgine:1"}) {
    QTest::newRow(text) << QByteArray(text);
  }
  QTest::newRow("long") << QByteArray(256, 'a') + ":1";
}

void TestEndpoint::refuses() {
  QFETCH(QByteArray, text);
  const auto endpoint = parseEndpoint(text.toStdString());
  QVERIFY(!endpoint.ok());
  QCOMPARE(int(endpoint.error().code), int(ErrorCode::InvalidArgument));
  for (const char c : endpoint.error().message) QVERIFY(static_cast<unsigned char>(c) >= 0x20);
}

QTEST_GUILESS_MAIN(TestEndpoint)
#include "test_endpoint.moc"

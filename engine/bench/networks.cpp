#include "engine/bench/networks.h"

#include <algorithm>

namespace pillarbox::bench {

namespace {

/// Adds layers to a network and keeps count of its activations.
class Builder {
 public:
  Builder(std::string name, std::uint32_t channels, std::uint32_t side)
      : m_channels(channels), m_side(side) {
    m_network.name = std::move(name);
  }

  /// A square convolution with "same" padding that becomes the current tensor.
  Builder& conv(std::uint32_t channels, std::uint32_t kernel, std::uint32_t stride = 1) {
    add(convolution(m_channels, m_side, channels, kernel, stride));
    m_side = (m_side + stride - 1) / stride;
    m_channels = channels;
    return *this;
  }
  Builder& activation() {
    m_network.activations += std::uint64_t{m_channels} * m_side * m_side;
    return *this;
  }
  Builder& pool(std::uint32_t stride) {
    m_side = (m_side + stride - 1) / stride;
    return *this;
  }
  Builder& dense(std::uint32_t outputs) {
    models::LinearOp op;
    op.kind = models::OpKind::FullyConnected;
    op.name = "dense";
    op.in = {m_channels, m_side, m_side};
    op.out = {outputs, 1, 1};
    add(op);
    return *this;
  }
  /// Two 3x3 convolutions and a shortcut, a projection where the shape changes.
  Builder& basicBlock(std::uint32_t channels, std::uint32_t stride) {
    if (stride != 1 || channels != m_channels)
      add(convolution(m_channels, m_side, channels, 1, stride));
    return conv(channels, 3, stride).activation().conv(channels, 3).activation();
  }
  /// 1x1, 3x3 with the stride, 1x1 to four times the channels, and a shortcut.
  Builder& bottleneck(std::uint32_t channels, std::uint32_t stride) {
    if (stride != 1 || 4 * channels != m_channels) {
      add(convolution(m_channels, m_side, 4 * channels, 1, stride));
    }
    return conv(channels, 1)
        .activation()
        .conv(channels, 3, stride)
        .activation()
        .conv(4 * channels, 1)
        .activation();
  }
  Network build() { return std::move(m_network); }

 private:
  static models::LinearOp convolution(std::uint32_t inChannels, std::uint32_t side,
                                      std::uint32_t outChannels, std::uint32_t kernel,
                                      std::uint32_t stride) {
    models::LinearOp op;
    op.kind = models::OpKind::Convolution;
    op.name = "convolution";
    op.in = {inChannels, side, side};
    op.kernelH = op.kernelW = kernel;
    op.strideH = op.strideW = stride;
    op.padTop = op.padLeft = op.padBottom = op.padRight = (kernel - 1) / 2;
    const std::uint32_t out = (side + 2 * op.padTop - kernel) / stride + 1;
    op.out = {outChannels, out, out};
    return op;
  }
  void add(const models::LinearOp& op) {
    const auto same = std::find_if(m_network.layers.begin(), m_network.layers.end(),
                                   [&](const Layer& layer) { return layer.op == op; });
    if (same != m_network.layers.end()) {
      ++same->count;
    } else {
      m_network.layers.push_back({op, 1});
    }
  }

  Network m_network;
  std::uint32_t m_channels, m_side;
};

Network minionn() {
  Builder net("minionn", 3, 32);
  net.conv(64, 3).activation().conv(64, 3).activation().pool(2);
  net.conv(64, 3).activation().conv(64, 3).activation().pool(2);
  net.conv(64, 3).activation().conv(64, 1).activation().conv(16, 1).activation();
  return net.dense(10).build();
}

Network resnet18() {
  Builder net("resnet18", 3, 32);
  net.conv(64, 3).activation();
  for (const std::uint32_t channels : {64U, 128U, 256U, 512U}) {
    net.basicBlock(channels, channels == 64 ? 1 : 2).basicBlock(channels, 1);
  }
  return net.pool(4).dense(10).build();
}

Network resnet32() {
  Builder net("resnet32", 3, 32);
  net.conv(16, 3).activation();
  for (const std::uint32_t channels : {16U, 32U, 64U}) {
    for (int block = 0; block < 5; ++block) {
      net.basicBlock(channels, block == 0 && channels != 16 ? 2 : 1);
    }
  }
  return net.pool(8).dense(100).build();
}

Network resnet50() {
  Builder net("resnet50", 3, 224);
  net.conv(64, 7, 2).activation().pool(2);
  const std::uint32_t channels[] = {64, 128, 256, 512};
  const int blocks[] = {3, 4, 6, 3};
  for (int group = 0; group < 4; ++group) {
    for (int block = 0; block < blocks[group]; ++block) {
      net.bottleneck(channels[group], block == 0 && group != 0 ? 2 : 1);
    }
  }
  return net.pool(7).dense(1000).build();
}

}  // namespace

std::uint64_t multiplyAdds(const models::LinearOp& op) {
  if (op.kind == models::OpKind::FullyConnected) return op.weightCount();
  return op.out.size() * op.in.channels * op.kernelH * op.kernelW;
}

std::uint64_t Network::multiplyAdds() const {
  std::uint64_t sum = 0;
  for (const Layer& layer : layers) sum += layer.count * bench::multiplyAdds(layer.op);
  return sum;
}

std::string shapeText(const models::LinearOp& op) {
  std::string text =
      std::to_string(op.kind == models::OpKind::FullyConnected ? op.in.size() : op.in.channels);
  text += "->" + std::to_string(op.out.channels);
  if (op.kind == models::OpKind::FullyConnected) return text + " dense";
  text += " " + std::to_string(op.kernelH) + "x" + std::to_string(op.kernelW);
  if (op.strideH != 1) text += "/" + std::to_string(op.strideH);
  return text + " @" + std::to_string(op.in.height);
}

const std::vector<Network>& networks() {
  static const std::vector<Network> kNetworks = {minionn(), resnet18(), resnet32(), resnet50()};
  return kNetworks;
}

}  // namespace pillarbox::bench

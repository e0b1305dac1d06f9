// The public model description: bytes, checks, identity.
//
// Two parties must agree on every bit of this, and one of them received it from a stranger. So
// there is one set of rules (validate), applied to what is built here as well as to what arrives,
// and one encoding: parsePublicModel refuses bytes that serialize() would not have produced, which
// makes "the hash of the bytes" and "the hash of the model" the same thing.
//
// Everything that sizes memory or work is bounded before any is taken, in 64-bit arithmetic whose
// operands are bounded first.
#include "models/description.h"

#include <algorithm>
#include <cmath>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/evp.h>

#include "models/description.pb.h"

namespace pillarbox::models {

namespace {

void fill(proto::Shape* out, const Shape& shape) {
  out->set_channels(shape.channels);
  out->set_height(shape.height);
  out->set_width(shape.width);
}

Shape read(const proto::Shape& shape) {
  return Shape{shape.channels(), shape.height(), shape.width()};
}

void fill(proto::LinearOp* out, const LinearOp& op) {
  out->set_kind(static_cast<proto::OpKind>(op.kind));
  out->set_name(op.name);
  for (std::uint32_t input : op.inputs) out->add_inputs(input);
  fill(out->mutable_in(), op.in);
  fill(out->mutable_out(), op.out);
  out->set_kernel_h(op.kernelH);
  out->set_kernel_w(op.kernelW);
  out->set_stride_h(op.strideH);
  out->set_stride_w(op.strideW);
  out->set_pad_top(op.padTop);
  out->set_pad_left(op.padLeft);
  out->set_pad_bottom(op.padBottom);
  out->set_pad_right(op.padRight);
  out->set_weight_index(op.weightIndex);
  for (std::int64_t multiplier : op.multipliers) out->add_multipliers(multiplier);
}

LinearOp read(const proto::LinearOp& op) {
  LinearOp result;
  // A kind outside the enumeration is kept for validate() to refuse; 255 stands for all that do
  // not fit the byte.
  const int kind = op.kind();
  result.kind = static_cast<OpKind>(kind >= 0 && kind <= 255 ? kind : 255);
  result.name = op.name();
  result.inputs.assign(op.inputs().begin(), op.inputs().end());
  result.in = read(op.in());
  result.out = read(op.out());
  result.kernelH = op.kernel_h();
  result.kernelW = op.kernel_w();
  result.strideH = op.stride_h();
  result.strideW = op.stride_w();
  result.padTop = op.pad_top();
  result.padLeft = op.pad_left();
  result.padBottom = op.pad_bottom();
  result.padRight = op.pad_right();
  result.weightIndex = op.weight_index();
  result.multipliers.assign(op.multipliers().begin(), op.multipliers().end());
  return result;
}

void fill(proto::Stage* out, const Stage& stage) {
  out->set_name(stage.name);
  for (std::uint32_t input : stage.inputs) out->add_inputs(input);
  for (const LinearOp& op : stage.ops) fill(out->add_ops(), op);
  out->set_truncation(stage.truncation);
  if (stage.activation) {
    proto::Polynomial* polynomial = out->mutable_activation();
    polynomial->set_fraction_bits(stage.activation->fractionBits);
    for (std::int64_t c : stage.activation->coefficients) polynomial->add_coefficients(c);
  }
  fill(out->mutable_output(), stage.output);
}

Stage read(const proto::Stage& stage) {
  Stage result;
  result.name = stage.name();
  result.inputs.assign(stage.inputs().begin(), stage.inputs().end());
  result.ops.reserve(static_cast<std::size_t>(stage.ops_size()));
  for (const proto::LinearOp& op : stage.ops()) result.ops.push_back(read(op));
  result.truncation = stage.truncation();
  if (stage.has_activation()) {
    Polynomial polynomial;
    polynomial.fractionBits = stage.activation().fraction_bits();
    polynomial.coefficients.assign(stage.activation().coefficients().begin(),
                                   stage.activation().coefficients().end());
    result.activation = std::move(polynomial);
  }
  result.output = read(stage.output());
  return result;
}

Error formatError(std::string message) {
  return Error{ErrorCode::Format, std::move(message)};
}
Error limitError(std::string message) {
  return Error{ErrorCode::Exhausted, std::move(message)};
}

/// Printable UTF-8 of bounded length: these strings end up in terminals, logs and windows.
bool isPrintableUtf8(const std::string& text) {
  if (text.size() > Limits::kMaxNameBytes) return false;
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t length = 0;
    std::uint32_t code = 0;
    if (lead < 0x80) {
      length = 1;
      code = lead;
    } else if ((lead & 0xE0) == 0xC0) {
      length = 2;
      code = lead & 0x1Fu;
    } else if ((lead & 0xF0) == 0xE0) {
      length = 3;
      code = lead & 0x0Fu;
    } else if ((lead & 0xF8) == 0xF0) {
      length = 4;
      code = lead & 0x07u;
    } else {
      return false;
    }
    if (i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code = (code << 6) | (next & 0x3Fu);
    }
    constexpr std::uint32_t kFirstOfLength[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kFirstOfLength[length] || code > 0x10FFFF) return false;
    if (code >= 0xD800 && code <= 0xDFFF) return false;
    if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return false;
    // Bidirectional controls and line separators could make one label look like another.
    if (code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) ||
        (code >= 0x2066 && code <= 0x2069)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::string describe(const Shape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
}

bool isBounded(const Shape& shape) {
  const auto fits = [](std::uint32_t v) { return v >= 1 && v <= Limits::kMaxDimension; };
  return fits(shape.channels) && fits(shape.height) && fits(shape.width) &&
         shape.size() <= Limits::kMaxTensorElements;
}

/// Where in the description something is wrong, for messages.
std::string place(const PublicModel& model, std::size_t stage) {
  std::string text =
      "stage " + std::to_string(stage + 1) + " of " + std::to_string(model.stages.size());
  const std::string& name = model.stages[stage].name;
  if (!name.empty() && isPrintableUtf8(name)) text += " ('" + name + "')";
  return text;
}

Status checkWindow(const LinearOp& op, const std::string& where) {
  const auto inRange = [](std::uint32_t v, std::uint32_t low) {
    return v >= low && v <= Limits::kMaxDimension;
  };
  if (!inRange(op.kernelH, 1) || !inRange(op.kernelW, 1) || !inRange(op.strideH, 1) ||
      !inRange(op.strideW, 1)) {
    return formatError(where + ": kernel and stride must be between 1 and " +
                       std::to_string(Limits::kMaxDimension) + ".");
  }
  // A padding as large as the kernel would add windows that see no input.
  if (op.padTop >= op.kernelH || op.padBottom >= op.kernelH || op.padLeft >= op.kernelW ||
      op.padRight >= op.kernelW) {
    return formatError(where + ": padding must be smaller than the kernel.");
  }
  const std::uint64_t paddedH = std::uint64_t{op.in.height} + op.padTop + op.padBottom;
  const std::uint64_t paddedW = std::uint64_t{op.in.width} + op.padLeft + op.padRight;
  if (op.kernelH > paddedH || op.kernelW > paddedW) {
    return formatError(where + ": the kernel is larger than its padded input.");
  }
  const std::uint64_t height = (paddedH - op.kernelH) / op.strideH + 1;
  const std::uint64_t width = (paddedW - op.kernelW) / op.strideW + 1;
  if (op.out.height != height || op.out.width != width) {
    return formatError(where + ": the output " + describe(op.out) +
                       " does not follow from the input " + describe(op.in) +
                       ", kernel, stride and padding.");
  }
  return {};
}

Status checkPlainWindow(const LinearOp& op, const std::string& where) {
  if (op.kernelH != 1 || op.kernelW != 1 || op.strideH != 1 || op.strideW != 1 || op.padTop != 0 ||
      op.padLeft != 0 || op.padBottom != 0 || op.padRight != 0) {
    return formatError(where + ": this kind of op has no kernel, stride or padding.");
  }
  return {};
}

Status checkPolynomial(const Polynomial& polynomial, std::uint32_t precisionBits,
                       const std::string& where) {
  const std::size_t count = polynomial.coefficients.size();
  if (count < 3 || count > Limits::kMaxDegree + 1 || count % 2 == 0) {
    return formatError(where + ": the activation's degree must be 2, 4, 6 or 8.");
  }
  if (polynomial.fractionBits > Limits::kMaxCoefficientFractionBits) {
    return formatError(where + ": the activation's coefficients have more than " +
                       std::to_string(Limits::kMaxCoefficientFractionBits) + " fraction bits.");
  }
  for (std::int64_t c : polynomial.coefficients) {
    if (c >= Limits::kMaxCoefficient || c <= -Limits::kMaxCoefficient) {
      return formatError(where + ": an activation coefficient is too large.");
    }
  }
  if (polynomial.degree() * precisionBits + polynomial.fractionBits > Limits::kMaxPolynomialBits) {
    return formatError(where + ": degree " + std::to_string(polynomial.degree()) + " at " +
                       std::to_string(precisionBits) +
                       " precision bits does not fit 128-bit arithmetic.");
  }
  return {};
}

/// Sums that validate() keeps over the whole model.
struct Totals {
  std::uint64_t elements = 0;
  std::uint64_t weights = 0;
  std::uint64_t multiplications = 0;
  std::uint64_t ops = 0;
  std::uint64_t weightTensors = 0;
  std::vector<std::uint64_t> weightCounts;  ///< by weightIndex
};

Status checkOp(const LinearOp& op, const std::vector<Shape>& values, const std::string& where,
               Totals* totals) {
  if (!isPrintableUtf8(op.name))
    return formatError(where + ": the op's name is not printable text.");
  if (op.inputs.empty() || op.inputs.size() > Limits::kMaxInputs) {
    return formatError(where + ": an op needs between 1 and " + std::to_string(Limits::kMaxInputs) +
                       " inputs.");
  }
  for (std::uint32_t input : op.inputs) {
    if (input >= values.size()) {
      return formatError(where + ": refers to value " + std::to_string(input) +
                         ", which does not exist before it.");
    }
  }
  if (!isBounded(op.in) || !isBounded(op.out)) {
    return limitError(where + ": a tensor of shape " + describe(op.in) + " or " + describe(op.out) +
                      " is empty or over the limit.");
  }
  if (op.in != values[op.inputs.front()]) {
    return formatError(where + ": expects an input of shape " + describe(op.in) + ", gets " +
                       describe(values[op.inputs.front()]) + ".");
  }
  std::uint64_t perOutput = 0;  // multiplications or additions an output element
  switch (op.kind) {
    case OpKind::Convolution:
      PILLARBOX_TRY(checkWindow(op, where));
      perOutput = std::uint64_t{op.in.channels} * op.kernelH * op.kernelW;
      break;
    case OpKind::FullyConnected:
      PILLARBOX_TRY(checkPlainWindow(op, where));
      if (op.out.height != 1 || op.out.width != 1) {
        return formatError(where + ": a fully connected op's output must have height and width 1.");
      }
      perOutput = op.in.size();
      break;
    case OpKind::SumPool:
      PILLARBOX_TRY(checkWindow(op, where));
      if (op.in.channels != op.out.channels) {
        return formatError(where + ": a pooling must keep the number of channels.");
      }
      perOutput = std::uint64_t{op.kernelH} * op.kernelW;
      break;
    case OpKind::Combine:
      PILLARBOX_TRY(checkPlainWindow(op, where));
      if (op.in != op.out) return formatError(where + ": a combination must keep the shape.");
      for (std::uint32_t input : op.inputs) {
        if (values[input] != op.in) {
          return formatError(where + ": combines tensors of different shapes.");
        }
      }
      if (op.multipliers.size() != op.inputs.size()) {
        return formatError(where + ": a combination needs one multiplier an input.");
      }
      for (std::int64_t multiplier : op.multipliers) {
        if (multiplier == 0 || multiplier > Limits::kMaxMultiplier ||
            multiplier < -Limits::kMaxMultiplier) {
          return formatError(where + ": a multiplier is zero or too large.");
        }
      }
      perOutput = op.inputs.size();
      break;
    default:
      return formatError(where + ": unknown kind of op " +
                         std::to_string(static_cast<unsigned>(op.kind)) + ".");
  }
  if (op.kind != OpKind::Combine) {
    if (op.inputs.size() != 1) return formatError(where + ": this kind of op has one input.");
    if (!op.multipliers.empty())
      return formatError(where + ": only combinations have multipliers.");
  }
  if (op.hasWeights()) {
    const std::uint64_t count = op.weightCount();
    if (op.weightIndex != totals->weightTensors) {
      return formatError(where + ": weight tensors must be numbered in the order of their ops.");
    }
    ++totals->weightTensors;
    if (count > Limits::kMaxWeights - totals->weights) {
      return limitError("The model has more than " + std::to_string(Limits::kMaxWeights) +
                        " weights, at " + where + ".");
    }
    totals->weights += count;
  } else if (op.weightIndex != 0) {
    return formatError(where + ": an op without weights must have weight index 0.");
  }
  // perOutput <= 2^14 * 2^14 * 2^14 and size() <= kMaxTensorElements: no 64-bit overflow below.
  if (perOutput > Limits::kMaxMultiplications / op.out.size() ||
      perOutput * op.out.size() > Limits::kMaxMultiplications - totals->multiplications) {
    return limitError("One inference takes more than " +
                      std::to_string(Limits::kMaxMultiplications) + " multiplications, at " +
                      where + ".");
  }
  totals->multiplications += perOutput * op.out.size();
  totals->elements += op.out.size();
  if (totals->elements > Limits::kMaxTotalElements) {
    return limitError("One inference needs more than " + std::to_string(Limits::kMaxTotalElements) +
                      " tensor elements, at " + where + ".");
  }
  return {};
}

Status checkStage(const PublicModel& model, std::size_t index,
                  const std::vector<Shape>& activations, std::vector<bool>* used, Totals* totals) {
  const Stage& stage = model.stages[index];
  const std::string where = place(model, index);
  const bool last = index + 1 == model.stages.size();
  if (!isPrintableUtf8(stage.name)) return formatError(where + ": its name is not printable text.");
  if (stage.inputs.empty() || stage.inputs.size() > Limits::kMaxInputs) {
    return formatError(where + ": needs between 1 and " + std::to_string(Limits::kMaxInputs) +
                       " inputs.");
  }
  if (stage.ops.empty()) return formatError(where + ": has no ops.");
  totals->ops += stage.ops.size();
  if (stage.ops.size() > Limits::kMaxOpsInStage || totals->ops > Limits::kMaxOps) {
    return limitError(where + ": too many ops.");
  }
  std::vector<Shape> values;
  std::vector<std::uint8_t> weightedDepth;  // ops with weights on the way from an input, 0 or 1
  std::vector<bool> valueUsed;
  for (std::size_t i = 0; i < stage.inputs.size(); ++i) {
    const std::uint32_t input = stage.inputs[i];
    if (input > index) {
      return formatError(where + ": reads activation " + std::to_string(input) +
                         ", which does not exist yet.");
    }
    if (std::find(stage.inputs.begin(), stage.inputs.begin() + static_cast<std::ptrdiff_t>(i),
                  input) != stage.inputs.begin() + static_cast<std::ptrdiff_t>(i)) {
      return formatError(where + ": lists activation " + std::to_string(input) + " twice.");
    }
    (*used)[input] = true;
    values.push_back(activations[input]);
    weightedDepth.push_back(0);
    valueUsed.push_back(false);
  }
  for (std::size_t i = 0; i < stage.ops.size(); ++i) {
    const LinearOp& op = stage.ops[i];
    std::string opWhere = where + ", op " + std::to_string(i + 1);
    if (!op.name.empty() && isPrintableUtf8(op.name)) opWhere += " ('" + op.name + "')";
    PILLARBOX_TRY(checkOp(op, values, opWhere, totals));
    std::uint8_t depth = 0;
    for (std::uint32_t input : op.inputs) {
      depth = std::max(depth, weightedDepth[input]);
      valueUsed[input] = true;
    }
    if (op.hasWeights() && ++depth > 1) {
      return formatError(opWhere +
                         ": two ops with weights follow each other without an activation between.");
    }
    values.push_back(op.out);
    weightedDepth.push_back(depth);
    valueUsed.push_back(false);
  }
  valueUsed.back() = true;
  if (std::find(valueUsed.begin(), valueUsed.end(), false) != valueUsed.end()) {
    return formatError(where + ": computes or reads a value that nothing uses.");
  }
  if (stage.output != values.back()) {
    return formatError(where + ": states the output " + describe(stage.output) +
                       ", its last op gives " + describe(values.back()) + ".");
  }
  if (stage.truncation < Limits::kMinTruncation ||
      model.precisionBits + stage.truncation > Limits::kMaxStageBits) {
    return formatError(where + ": a truncation of " + std::to_string(stage.truncation) +
                       " bits is outside " + std::to_string(Limits::kMinTruncation) + ".." +
                       std::to_string(Limits::kMaxStageBits - model.precisionBits) + ".");
  }
  if (last) {
    if (stage.activation) return formatError(where + ": the last stage must have no activation.");
  } else {
    if (!stage.activation) return formatError(where + ": has no activation.");
    PILLARBOX_TRY(checkPolynomial(*stage.activation, model.precisionBits, where));
  }
  return {};
}

}  // namespace

std::uint64_t LinearOp::weightCount() const {
  switch (kind) {
    case OpKind::Convolution:
      return std::uint64_t{out.channels} * in.channels * kernelH * kernelW;
    case OpKind::FullyConnected:
      return out.size() * in.size();
    default:
      return 0;
  }
}

std::uint64_t PublicModel::activationCount() const {
  std::uint64_t count = 0;
  for (const Stage& stage : stages) {
    if (stage.activation) count += stage.output.size();
  }
  return count;
}

std::uint64_t PublicModel::weightCount() const {
  std::uint64_t count = 0;
  for (const Stage& stage : stages) {
    for (const LinearOp& op : stage.ops) count += op.weightCount();
  }
  return count;
}

std::string serialize(const PublicModel& model) {
  proto::PublicModel message;
  message.set_version(kDescriptionVersion);
  message.set_name(model.name);
  fill(message.mutable_input(), model.input);
  for (float v : model.mean) message.add_mean(v);
  for (float v : model.std) message.add_std(v);
  message.set_precision_bits(model.precisionBits);
  message.set_output_bits(model.outputBits);
  for (const std::string& label : model.labels) message.add_labels(label);
  for (const Stage& stage : model.stages) fill(message.add_stages(), stage);

  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeWithCachedSizes((static_cast<void>(message.ByteSizeLong()), &coded));
  }
  return bytes;
}

Status validate(const PublicModel& model) {
  if (!isPrintableUtf8(model.name)) return formatError("The model's name is not printable text.");
  if (!isBounded(model.input)) {
    return limitError("The model's input shape " + describe(model.input) +
                      " is empty or over the limit.");
  }
  if (model.precisionBits < Limits::kMinPrecisionBits ||
      model.precisionBits > Limits::kMaxPrecisionBits) {
    return formatError("The model's precision of " + std::to_string(model.precisionBits) +
                       " bits is outside " + std::to_string(Limits::kMinPrecisionBits) + ".." +
                       std::to_string(Limits::kMaxPrecisionBits) + ".");
  }
  if (model.outputBits < Limits::kMinOutputBits || model.outputBits > model.precisionBits) {
    return formatError("The model reveals " + std::to_string(model.outputBits) +
                       " fraction bits of its outputs; allowed are " +
                       std::to_string(Limits::kMinOutputBits) + " up to its precision.");
  }
  if (model.mean.size() != model.input.channels || model.std.size() != model.input.channels) {
    return formatError("The model needs one mean and one standard deviation an input channel.");
  }
  for (float v : model.mean) {
    if (!std::isfinite(v) || std::abs(v) > 1000.0F) {
      return formatError("A mean of the model's input is not a sensible number.");
    }
  }
  for (float v : model.std) {
    if (!std::isfinite(v) || v < 1e-4F || v > 1000.0F) {
      return formatError("A standard deviation of the model's input is not a sensible number.");
    }
  }
  if (model.stages.empty()) return formatError("The model has no stages.");
  if (model.stages.size() > Limits::kMaxStages) {
    return limitError("The model has more than " + std::to_string(Limits::kMaxStages) + " stages.");
  }
  if (model.labels.size() > Limits::kMaxLabels) {
    return limitError("The model has more than " + std::to_string(Limits::kMaxLabels) + " labels.");
  }
  for (std::size_t i = 0; i < model.labels.size(); ++i) {
    if (model.labels[i].empty() || !isPrintableUtf8(model.labels[i])) {
      return formatError("Label " + std::to_string(i + 1) +
                         " is empty, too long or not printable.");
    }
  }
  std::vector<Shape> activations{model.input};
  std::vector<bool> used(model.stages.size() + 1, false);
  Totals totals;
  totals.elements = model.input.size();
  for (std::size_t i = 0; i < model.stages.size(); ++i) {
    PILLARBOX_TRY(checkStage(model, i, activations, &used, &totals));
    activations.push_back(model.stages[i].output);
  }
  used.back() = true;  // the logits are the result
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) {
      return formatError("Nothing uses activation " + std::to_string(i) + " of the model.");
    }
  }
  if (model.stages.back().output.size() != model.labels.size()) {
    return formatError("The model has " + std::to_string(model.labels.size()) + " labels for " +
                       std::to_string(model.stages.back().output.size()) + " outputs.");
  }
  return {};
}

Status validate(const PublicModel& model, const ModelWeights& weights) {
  if (weights.bias.size() != model.stages.size()) {
    return formatError("The weights have " + std::to_string(weights.bias.size()) + " biases for " +
                       std::to_string(model.stages.size()) + " stages.");
  }
  std::size_t tensors = 0;
  for (std::size_t i = 0; i < model.stages.size(); ++i) {
    const Stage& stage = model.stages[i];
    for (const LinearOp& op : stage.ops) {
      if (!op.hasWeights()) continue;
      ++tensors;
      if (op.weightIndex >= weights.weights.size() ||
          weights.weights[op.weightIndex].size() != op.weightCount()) {
        return formatError(place(model, i) + ": the weights of '" + op.name +
                           "' are missing or of another size.");
      }
    }
    const std::size_t bias = weights.bias[i].size();
    if (bias != stage.output.channels && bias != stage.output.size()) {
      return formatError(place(model, i) +
                         ": the bias must have one value a channel or one an element.");
    }
  }
  if (tensors != weights.weights.size()) {
    return formatError("The weights have " + std::to_string(weights.weights.size()) +
                       " tensors where the model has " + std::to_string(tensors) + ".");
  }
  return {};
}

Result<PublicModel> parsePublicModel(std::span<const std::byte> bytes) {
  if (bytes.size() > Limits::kMaxDescriptionBytes) {
    return limitError("The model description is larger than " +
                      std::to_string(Limits::kMaxDescriptionBytes) + " bytes.");
  }
  proto::PublicModel message;
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(8);
  if (!message.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
    return formatError("The model description is damaged: it is not a valid message.");
  }
  if (message.version() != kDescriptionVersion) {
    return Error{ErrorCode::Version,
                 "The model description has version " + std::to_string(message.version()) +
                     "; this program understands version " + std::to_string(kDescriptionVersion) +
                     ". Use the same release of Pillarbox on both sides."};
  }
  PublicModel model;
  model.name = message.name();
  model.input = read(message.input());
  model.mean.assign(message.mean().begin(), message.mean().end());
  model.std.assign(message.std().begin(), message.std().end());
  model.precisionBits = message.precision_bits();
  model.outputBits = message.output_bits();
  model.labels.assign(message.labels().begin(), message.labels().end());
  model.stages.reserve(static_cast<std::size_t>(message.stages_size()));
  for (const proto::Stage& stage : message.stages()) model.stages.push_back(read(stage));
  PILLARBOX_TRY(validate(model));
  const std::string canonical = serialize(model);
  if (!std::equal(canonical.begin(), canonical.end(), bytes.begin(), bytes.end(),
                  [](char a, std::byte b) { return static_cast<std::byte>(a) == b; })) {
    return formatError("The model description is not in its canonical form.");
  }
  return model;
}

Sha256 modelHash(const PublicModel& model) {
  const std::string bytes = serialize(model);
  Sha256 hash{};
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), &length, EVP_sha256(), nullptr) != 1 ||
      length != hash.size()) {
    throw std::runtime_error("SHA-256 is not available in the OpenSSL library in use");
  }
  return hash;
}

std::string toHex(std::span<const std::uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (std::uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

}  // namespace pillarbox::models

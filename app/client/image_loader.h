// Reads the images that people drop: any raster format Qt decodes, with EXIF rotation applied.
//
// The files are untrusted, so limits come before memory: dimensions are read from the header first,
// and what is larger than LoadLimits allows is refused. A large JPEG is decoded at a reduced size,
// which its format can do cheaply. Drawings (SVG, PDF) are refused: they can refer to other files.
// A truncated file is an error rather than a picture that is grey from somewhere on, which would be
// classified without a word. The functions block; call them off the UI thread.
#pragma once

#include <QByteArray>
#include <QImage>
#include <QString>

#include "engine/core/result.h"

namespace pillarbox::client {

struct LoadLimits {
  static constexpr qint64 kMaxFileBytes = qint64{512} << 20;
  static constexpr qint64 kMaxPixels = qint64{150} * 1000 * 1000;
  /// Decoding takes at most this much memory (kMaxPixels at 16 bits a channel).
  static constexpr int kMaxDecodedMegabytes = 1280;
  /// A JPEG with more pixels than this is decoded at a reduced size, at least kReducedSide wide or
  /// high: far above any network's input.
  static constexpr qint64 kReduceAbovePixels = qint64{24} * 1000 * 1000;
  static constexpr int kReducedSide = 3000;
};

/// The image in the file `path`: upright (EXIF applied), in sRGB, Format_RGB32; transparency is
/// laid over white, 16-bit and grey are converted.
///
/// Errors: NotFound, Io, Format (not an image, truncated), Unsupported (a drawing), Exhausted (over
/// a limit).
Result<QImage> loadImage(const QString& path);

/// The same for the bytes of a file; `name` is for messages.
Result<QImage> loadImageData(const QByteArray& bytes, const QString& name);

/// The same conversion for an image that is decoded already (clipboard, drag from a browser).
/// Errors: InvalidArgument if it is null; Exhausted.
Result<QImage> normalizedImage(const QImage& image);

}  // namespace pillarbox::client

// Reads the images that people drop: any format Qt decodes, with EXIF rotation applied.
//
// Untrusted files, so limits come before memory: dimensions are read from the header first, and
// what would decode to more than LoadLimits allows is refused, or decoded at a smaller size where
// the format can do that. Blocking; call it off the UI thread.
#pragma once

#include <QImage>
#include <QString>

#include "engine/core/result.h"

namespace pillarbox::client {

struct LoadLimits {
  static constexpr qint64 kMaxFileBytes = qint64{512} << 20;
  static constexpr qint64 kMaxPixels = qint64{200} * 1000 * 1000;
};

/// The image in `path`: upright (EXIF applied), 8 bits a channel, RGB; transparency is laid over
/// white, 16-bit and grey are converted.
///
/// Errors: NotFound, Io, Format (not an image, truncated), Exhausted (over a limit).
Result<QImage> loadImage(const QString& path);

/// The same conversion for an image that is decoded already (clipboard, drag from a browser).
/// Errors: InvalidArgument if it is null.
Result<QImage> normalizedImage(const QImage& image);

}  // namespace pillarbox::client

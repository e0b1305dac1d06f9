// Text that came from the other side, made safe to print.
//
// A terminal obeys escape sequences, a log is read line by line, and bidirectional overrides make
// one string look like another. Whatever a peer wrote (error messages, names, labels) passes
// through here before anybody sees it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pillarbox::net {

/// Valid UTF-8 on a single line, at most `maxBytes` long.
///
/// Bytes that are not UTF-8 become U+FFFD; control characters (C0, DEL, C1), line and paragraph
/// separators become a space; bidirectional and other invisible format characters are dropped. What
/// is too long ends in an ellipsis, never inside a character.
std::string sanitizeForDisplay(std::string_view text, std::size_t maxBytes = 512);

}  // namespace pillarbox::net

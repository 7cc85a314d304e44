#include "failure.h"

#include <cerrno>
#include <system_error>

namespace mnv2 {

std::string system_reason() { return std::generic_category().message(errno); }

}  // namespace mnv2

// The meta-object of SessionModel.
#include "app/client/session_model.h"

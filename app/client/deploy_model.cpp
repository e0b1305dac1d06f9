// The meta-object of DeployModel.
#include "app/client/deploy_model.h"

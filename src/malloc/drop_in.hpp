// SPDX-License-Identifier: Apache-2.0
#pragma once

#define MPMM_EXPORT __attribute__((visibility("default")))

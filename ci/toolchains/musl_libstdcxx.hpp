// SPDX-License-Identifier: Apache-2.0
// Included before everything else when the GNU C library's libstdc++ headers are used with musl: what they take for granted of the C library.
#pragma once

#define __GLIBC_PREREQ(major, minor) 0
#define __locale_t locale_t
#include <bits/c++config.h>
// musl has none of these functions.
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK
#undef _GLIBCXX_USE_PTHREAD_RWLOCK_CLOCKLOCK
// Classes of characters, of which only declarations need the values: streams do not work.
#define _ISupper 0x100
#define _ISlower 0x200
#define _ISalpha 0x400
#define _ISdigit 0x800
#define _ISxdigit 0x1000
#define _ISspace 0x2000
#define _ISprint 0x4000
#define _ISblank 0x1
#define _IScntrl 0x2
#define _ISpunct 0x4

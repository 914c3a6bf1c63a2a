/* SPDX-License-Identifier: Apache-2.0 */
#include <mpmm/mpmm.h>
#include <stdio.h>

int main(void) {
    void* const block = mpmm_malloc(1000);
    if (block == NULL || mpmm_usable_size(block) < 1000) return 1;
    mpmm_free(block, 1000);
    if (mpmm_verify_heap() != 0) return 1;
    printf("sized %s\n", mpmm_version());
    return 0;
}

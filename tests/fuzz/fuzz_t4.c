/* What libFuzzer gives is read as a T4 file, into a store that is thrown away. */
#include "db/store.h"
#include "given.h"
#include "tuner/report/t4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct store *store;
    bool t4;
    const char *path = given_file(data, size);
    if (!given_good(t4_recognise(path, &t4)) || !t4 || !given_good(t4_read(path, &store)))
        return 0;
    store_close(store);
    return 0;
}

// Which output tile and which part of K a CTA works on.
#pragma once

#include "../gemm_args.h"

struct Tile {
    int m, n; // tile coordinates along tokens and features
};

// Walks `raster` token tiles for each feature tile before going on to the next feature tile, so that the CTAs that run at the same
// time share both weights and activations in L2. tiles_m and tiles_n count the tiles of the whole output. Divisions take long, and decoding
// has one token tile.
__device__ __forceinline__ Tile tile_of(int index, int tiles_m, int tiles_n, int raster) {
    if (tiles_m == 1)
        return {0, index};
    const int band = index / (raster * tiles_n);
    const int within = index - band * raster * tiles_n;
    const int height = min(raster, tiles_m - band * raster);
    return {band * raster + within % height, within / height};
}

// Half-open range of K steps.
struct Steps {
    int begin, end;
};
// Of all steps those of one of `splits` parts; the first ones are longer where they do not come out even.
__device__ __forceinline__ Steps steps_of(int steps, int split, int splits) {
    if (splits == 1)
        return {0, steps};
    const int least = steps / splits, more = steps - least * splits;
    const int begin = split * least + min(split, more);
    return {begin, begin + least + (split < more)};
}

// The parts of an output tile along K: `count` of them, this CTA's is number `own`. Each but a whole tile (count = 1) has a slot for its
// partial sums in the workspace.
struct Parts {
    int count, own;
    int first, next, stride; // slots: of part 0, of part 1, from there on
    __device__ __forceinline__ int slot(int part) const {
        return part == 0 ? first : next + (part - 1) * stride;
    }
    // The same of one of `ctas` CTAs that do everything side by side.
    __device__ __forceinline__ Parts of(int rank, int ctas) const {
        return {count, own, first * ctas + rank, next * ctas + rank, stride * ctas};
    }
};
__device__ __forceinline__ Parts parts_of_split(int tile, int split, int splits) {
    return {splits, split, tile * splits, tile * splits + 1, 1};
}

// What a worker (a persistent CTA, or a cluster of them) does at one of its turns.
struct Item {
    int tile;
    Steps steps;
    Parts parts;
};

// How the work of a launch is dealt out to persistent workers, in one of two ways.
//   split-K   every tile is cut into `splits` parts; parts go round.
//   stream-K  all whole waves of tiles but one go round as whole tiles; the K steps of the remaining tiles, the first ones, are dealt out
//             evenly, so that all workers finish together. A worker's stretch of steps may end one tile, hold a whole one and begin
//             another: it has two slots, one for the part that its stretch begins with and one for the part that it ends with.
// Everything is computed anew at each turn: registers that held it would be missing in the main loop.
struct Work {
    int steps, tiles;  // of a tile; of the launch
    int splits;        // along K
    int stream;        // 0 for split-K, else the least steps of a worker's stretch
    int worker, workers;

    // The item of turn 0, 1, ... of this worker; false when there is none.
    __device__ __forceinline__ bool item(int turn, Item &out) const {
        int streamed = 0;
        if (stream) {
            streamed = mt_streamed_tiles(tiles, workers);
            const int sharers = mt_stream_workers(streamed, steps, stream, workers);
            const int begin = worker < sharers ? begin_of(worker, streamed, sharers) : 0;
            const int end = worker < sharers ? begin_of(worker + 1, streamed, sharers) : 0;
            const int stretches = end > begin ? (end - 1) / steps - begin / steps + 1 : 0; // tiles that the stretch touches
            if (turn < stretches) {
                part_of_stretch(begin / steps + turn, begin, end, streamed, sharers, out);
                return true;
            }
            turn -= stretches;
        }
        const int index = worker + turn * workers, done = splits == 1 ? index : index / splits;
        const int tile = streamed + done, split = index - done * splits;
        out = {tile, steps_of(steps, split, splits), parts_of_split(tile, split, splits)};
        return tile < tiles;
    }

  private:
    // First step of a sharer's stretch; the host sees to it that the product stays below 2^31.
    __device__ __forceinline__ int begin_of(int sharer, int streamed, int sharers) const {
        return streamed * steps * sharer / sharers;
    }
    // The last sharer that begins at or before a step.
    __device__ __forceinline__ int sharer_of(int step, int streamed, int sharers) const {
        return ((step + 1) * sharers - 1) / (streamed * steps);
    }
    __device__ __forceinline__ void part_of_stretch(int tile, int begin, int end, int streamed, int sharers, Item &out) const {
        const int zero = tile * steps; // the tile's first step
        const int first = sharer_of(zero, streamed, sharers), last = sharer_of(zero + steps - 1, streamed, sharers);
        out.tile = tile;
        out.steps = {max(begin - zero, 0), min(end - zero, steps)};
        out.parts = {last - first + 1, worker - first, 2 * first + (begin_of(first, streamed, sharers) < zero), 2 * first + 2, 2};
    }
};

// A value that all lanes of the warp have. Told so, ptxas keeps what follows from it in uniform registers.
__device__ __forceinline__ int agreed(int value) {
    return __shfl_sync(0xffffffffu, value, 0);
}

// The same value, which the compiler does not know: it cannot work it out again, and keeps nothing that follows from it across a loop.
__device__ __forceinline__ int afresh(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

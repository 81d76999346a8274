// Which output tile and which part of K a CTA works on.
#pragma once

struct Tile {
    int m, n; // tile coordinates along tokens and features
};

// Walks `raster` token tiles for each feature tile before going on to the next feature tile, so that the CTAs that run at the same
// time share both weights and activations in L2. tiles_m and tiles_n count the tiles of the whole output.
__device__ __forceinline__ Tile tile_of(int index, int tiles_m, int tiles_n, int raster) {
    const int band = index / (raster * tiles_n);
    const int within = index - band * raster * tiles_n;
    const int height = min(raster, tiles_m - band * raster);
    return {band * raster + within % height, within / height};
}

// Half-open range of K steps of split `split` out of `splits`.
struct Steps {
    int begin, end;
};
__device__ __forceinline__ Steps steps_of(int steps, int split, int splits) {
    return {steps * split / splits, steps * (split + 1) / splits};
}

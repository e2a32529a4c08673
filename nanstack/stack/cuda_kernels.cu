// SPDX-License-Identifier: GPL-3.0-or-later
//
// The stack of a block of pixels on a GPU: what nanstack.stack.definition.stack_block defines, one thread a pixel.
//
// A thread gathers the finite samples of its pixel in shared memory and sorts them there by a network of comparators;
// quantiles, medians and what is kept of them are then ranks. Threads never talk to each other. Sums run over the sorted
// samples in double precision, as in the definition, and must not be contracted to fused operations (--fmad=false), so
// that both decide alike. The constants come from nanstack.stack.definition, as definitions before this text.

typedef long long wide;

extern __shared__ float shared[];  // frames * threads samples; for the linear fit as many ranks behind them

#define DROPPED 0x8000  // flag of a sample in its rank

#define PARAMETERS                                                                                                  \
    const float *samples, const double *weights, wide period, int frames, wide pixels, const int *table,            \
        int comparators, int combine, double kappa_low, double kappa_high, double clip_low, double clip_high,       \
        double fraction_low, double fraction_high, int min_samples, int rewinsor, float *image, int *coverage,      \
        int *rejected

// --- a pixel and its samples ---------------------------------------------------------------------------------------

// Where a pixel's samples and weights lie: frame by frame, `stride` and `period` apart.
struct Pixel {
    const float *samples;
    const double *weights;
    int frames;
    wide stride, period;

    __device__ float sample(int frame) const { return samples[frame * stride]; }
    __device__ bool weighted() const { return period > 0; }
    __device__ double weight(int frame) const { return weights[frame * period]; }
};

// The finite samples of a pixel; `step` apart, so that neighbouring threads meet different banks of the memory.
struct Column {
    float *at;
    int step, count;

    __device__ float &sample(int rank) const { return at[rank * step]; }
    __device__ double operator[](int rank) const { return at[rank * step]; }
};

__device__ bool is_finite(float x) { return fabsf(x) <= 3.402823466e38f; }

__device__ double clip(double x, double low, double high) {
    x = x > low ? x : low;
    return x < high ? x : high;
}

__device__ wide own_pixel() { return (wide)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ Pixel pixel_at(wide place, const float *samples, const double *weights, wide period, int frames, wide pixels) {
    Pixel pixel = {samples + place, period > 0 ? weights + place % period : weights, frames, pixels, period};
    return pixel;
}

__device__ Column load(const Pixel &pixel) {
    Column column = {shared + threadIdx.x, (int)blockDim.x, 0};
    for (int frame = 0; frame < pixel.frames; frame++) {
        float x = pixel.sample(frame);
        if (is_finite(x)) column.sample(column.count++) = x;
    }
    return column;
}

// Comparators of later entries would find infinity there: they change nothing.
__device__ void sort(const Column &column, const int *table, int comparators) {
    for (int k = 0; k < comparators; k++) {
        int above = table[2 * k], below = table[2 * k + 1];
        if (below >= column.count) continue;
        float a = column.sample(above), b = column.sample(below);
        if (b < a) {
            column.sample(above) = b;
            column.sample(below) = a;
        }
    }
}

__device__ void store(wide place, double value, int count, int kept, float *image, int *coverage, int *rejected) {
    image[place] = (float)value;
    coverage[place] = count;
    rejected[place] = count - kept;
}

// --- order statistics ----------------------------------------------------------------------------------------------

struct Clipped {
    Column column;
    double low, high;

    __device__ double operator[](int rank) const { return clip(column[rank], low, high); }
};

struct Stats {
    double center, sigma;
};

struct Bounds {
    double lower, upper;
};

template <class Sorted> __device__ double median(const Sorted &sorted, int first, int last) {
    return (sorted[(first + last - 1) / 2] + sorted[(first + last) / 2]) / 2;
}

// Linear between order statistics; interpolated from the nearer one, as NumPy does.
__device__ double quantile(const Column &column, double fraction) {
    double position = (column.count - 1) * fraction;
    int index = (int)floor(position);
    double below = column[index], above = column[index + 1 < column.count ? index + 1 : column.count - 1];
    double gap = above - below, t = position - index;
    return t < 0.5 ? below + gap * t : above - gap * (1 - t);
}

// Median and standard deviation (ddof 0) of sorted[first:last]; both moments about the median, in one pass.
template <class Sorted> __device__ Stats stats(const Sorted &sorted, int first, int last) {
    Stats result = {nan(""), nan("")};
    if (last <= first) return result;
    result.center = median(sorted, first, last);
    double total = 0, squares = 0;
    for (int rank = first; rank < last; rank++) {
        double deviation = sorted[rank] - result.center;
        total += deviation;
        squares += deviation * deviation;
    }
    double share = 1.0 / (last - first), mean = total * share, variance = squares * share - mean * mean;
    result.sigma = sqrt(variance > 0 ? variance : 0);
    return result;
}

// Infinity times 0 is no number, but an infinite kappa is to reject nothing.
__device__ double reach(double kappa, double sigma) { return kappa > 1.7e308 ? kappa : kappa * sigma; }

__device__ Bounds around(const Stats &stats, double kappa_low, double kappa_high) {
    Bounds bounds = {stats.center - reach(kappa_low, stats.sigma), stats.center + reach(kappa_high, stats.sigma)};
    return bounds;
}

// Number of entries below a bound, or up to one; bounds that are no number leave nothing between them.
template <class Sorted> __device__ int first_from(const Sorted &sorted, int count, double lower) {
    int rank = 0;
    while (rank < count && !(sorted[rank] >= lower)) rank++;
    return rank;
}

template <class Sorted> __device__ int last_up_to(const Sorted &sorted, int count, double upper) {
    while (count > 0 && !(sorted[count - 1] <= upper)) count--;
    return count;
}

// As astropy.stats.sigma_clipped_stats: the last bounds hold for all entries, one dropped early may come back.
template <class Sorted> __device__ Stats clipped_stats(const Sorted &sorted, int count, double low, double high) {
    int first = 0, last = count;
    Bounds bounds;
    for (int round = 0; round < CLIP_ROUNDS; round++) {
        bounds = around(stats(sorted, first, last), low, high);
        int begin = first_from(sorted, count, bounds.lower), end = last_up_to(sorted, count, bounds.upper);
        int before = last - first;
        first = begin > first ? begin : first;
        last = end < last ? end : last;
        if (last <= first || last - first == before) break;
    }
    return stats(sorted, first_from(sorted, count, bounds.lower), last_up_to(sorted, count, bounds.upper));
}

// --- combination ---------------------------------------------------------------------------------------------------

// A column as it counts: ranks first ... last - 1 as they are, the others clipped.
struct Counted {
    Column column;
    int first, last;
    double low, high;

    __device__ bool keeps(int rank) const { return rank >= first && rank < last; }
    __device__ bool keeps_value(double x) const { return first < last && x >= column[first] && x <= column[last - 1]; }
    __device__ double operator[](int rank) const { return keeps(rank) ? column[rank] : clip(column[rank], low, high); }
    __device__ int kept() const { return last > first ? last - first : 0; }
};

struct Mean {
    double total, weight, smallest, largest;
    int values;

    __device__ void add(double value, double own_weight) {
        total += value * own_weight;
        weight += own_weight;
        smallest = values == 0 || value < smallest ? value : smallest;
        largest = values == 0 || value > largest ? value : largest;
        values++;
    }
    // rounding must not take a mean out of the extremes, so that equal values give that very value
    __device__ double result() const { return clip(total / weight, smallest, largest); }
};

__device__ double plain_mean(const Column &column) {
    Mean mean = {0, 0, 0, 0, 0};
    for (int rank = 0; rank < column.count; rank++) mean.add(column[rank], 1);
    return mean.result();
}

// Mean of what the samples count as, the rejected ones too if `replace` is set; the plain mean where nothing weighs.
__device__ double mean_of(const Pixel &pixel, const Counted &counted, bool replace) {
    Mean mean = {0, 0, 0, 0, 0};
    if (pixel.weighted()) {
        for (int frame = 0; frame < pixel.frames; frame++) {
            float x = pixel.sample(frame);
            if (!is_finite(x)) continue;
            bool kept = counted.keeps_value(x);
            if (kept || replace) mean.add(kept ? x : clip(x, counted.low, counted.high), pixel.weight(frame));
        }
    } else {
        for (int rank = 0; rank < counted.column.count; rank++)
            if (replace || counted.keeps(rank)) mean.add(counted[rank], 1);
    }
    return mean.weight > 0 ? mean.result() : plain_mean(counted.column);
}

// Median, least or largest of what the samples count as: three ascending runs, merged up to the wanted rank.
__device__ double pick(Counted counted, bool replace, int combine) {
    int count = counted.column.count;
    if (counted.first >= counted.last) counted.first = counted.last = count;
    int a = replace ? 0 : counted.first, b = counted.first, c = counted.last, end = replace ? count : counted.last;
    int size = end - a;
    if (size == 0) return plain_mean(counted.column);
    int rank = combine == MINIMUM ? 0 : combine == MAXIMUM ? size - 1 : size / 2;
    double before = 0, value = 0;
    for (int i = 0; i <= rank; i++) {
        before = value;
        int *next = 0;
        if (a < counted.first) next = &a;
        if (b < counted.last && (next == 0 || counted[b] < counted[*next])) next = &b;
        if (c < end && (next == 0 || counted[c] < counted[*next])) next = &c;
        value = counted[(*next)++];
    }
    return combine == MEDIAN && size % 2 == 0 ? (before + value) / 2 : value;
}

// --- winsorized and plain sigma clipping, and no rejection -----------------------------------------------------------

extern "C" __global__ void stack_sigma_clip(PARAMETERS) {
    wide place = own_pixel();
    if (place >= pixels) return;
    Pixel pixel = pixel_at(place, samples, weights, period, frames, pixels);
    Column column = load(pixel);
    int count = column.count;
    if (count == 0) {
        store(place, nan(""), 0, 0, image, coverage, rejected);
        return;
    }
    sort(column, table, comparators);
    Counted counted = {column, 0, count, 0, 0};
    if (count >= min_samples) {
        counted.low = quantile(column, fraction_low);
        counted.high = quantile(column, fraction_high);
        Clipped winsorized = {column, counted.low, counted.high};
        Bounds bounds = around(clipped_stats(winsorized, count, clip_low, clip_high), kappa_low, kappa_high);
        counted.first = first_from(column, count, bounds.lower);
        counted.last = last_up_to(column, count, bounds.upper);
    }
    double value = combine == MEAN ? mean_of(pixel, counted, rewinsor) : pick(counted, rewinsor, combine);
    store(place, value, count, counted.kept(), image, coverage, rejected);
}

// --- Huber's clip ----------------------------------------------------------------------------------------------------

// The `size` samples nearest to the centre are neighbours in the sorted column: how far they reach.
__device__ double nearest(const Column &column, int size, double center) {
    double least = 0;
    for (int rank = 0; rank + size <= column.count; rank++) {
        double down = center - column[rank], up = column[rank + size - 1] - center;
        double farther = down > up ? down : up;
        least = rank == 0 || farther < least ? farther : least;
    }
    return least;
}

// Root mean square of the residuals, those beyond the cutoff weighted by cutoff / |residual|.
__device__ double spread(const Counted &clipped, double mean, double cutoff) {
    double squares = 0, weight = 0;
    for (int rank = 0; rank < clipped.column.count; rank++) {
        double residual = clipped[rank] - mean, size = fabs(residual);
        double influence = size <= cutoff ? 1 : cutoff / size;
        squares += influence * residual * residual;
        weight += influence;
    }
    return sqrt(squares / (weight > TINY ? weight : TINY));
}

__device__ double floored(double scale) { return scale > HUBER_SCALE_FLOOR ? scale : HUBER_SCALE_FLOOR; }

__device__ bool moved(double before, double after) {
    double size = fabs(before);
    return fabs(after - before) > HUBER_TOLERANCE * (size > 1 ? size : 1);
}

extern "C" __global__ void stack_huber(PARAMETERS) {
    wide place = own_pixel();
    if (place >= pixels) return;
    Pixel pixel = pixel_at(place, samples, weights, period, frames, pixels);
    Column column = load(pixel);
    int count = column.count;
    if (count == 0) {
        store(place, nan(""), 0, 0, image, coverage, rejected);
        return;
    }
    sort(column, table, comparators);
    Stats now;
    now.center = median(column, 0, count);
    double deviations = nearest(column, (count - 1) / 2 + 1, now.center) + nearest(column, count / 2 + 1, now.center);
    now.sigma = floored(SIGMA_OF_MAD * (deviations / 2));
    bool going = true;
    for (int round = 0; round < HUBER_ROUNDS && going; round++) {
        Bounds bounds = around(now, kappa_low, kappa_high);
        Counted clipped = {column, 0, 0, bounds.lower, bounds.upper};
        Stats next;
        next.center = mean_of(pixel, clipped, true);
        double cutoff = reach(kappa_low > kappa_high ? kappa_low : kappa_high, now.sigma);
        next.sigma = floored(spread(clipped, next.center, cutoff));
        going = moved(now.center, next.center) || moved(now.sigma, next.sigma);
        now = next;
    }
    Bounds bounds = around(now, kappa_low, kappa_high);
    int first = first_from(column, count, bounds.lower), last = last_up_to(column, count, bounds.upper);
    Counted counted = {column, first, last, bounds.lower, bounds.upper};
    double value = combine == MEAN ? now.center : pick(counted, true, combine);
    store(place, value, count, counted.kept(), image, coverage, rejected);
}

// --- linear fit ------------------------------------------------------------------------------------------------------

// A sorted column that knows which frame each sample is of, and which are dropped.
struct Fitted {
    Column column;
    unsigned short *rank_of;

    __device__ unsigned short &mark(int rank) const { return rank_of[rank * column.step]; }
    __device__ int frame(int rank) const { return mark(rank) & ~DROPPED; }
    __device__ bool kept(int rank) const { return !(mark(rank) & DROPPED); }
};

__device__ Fitted load_with_frames(const Pixel &pixel) {
    Column column = {shared + threadIdx.x, (int)blockDim.x, 0};
    Fitted fitted = {column, (unsigned short *)(shared + pixel.frames * blockDim.x) + threadIdx.x};
    for (int frame = 0; frame < pixel.frames; frame++) {
        float x = pixel.sample(frame);
        if (!is_finite(x)) continue;
        fitted.column.sample(fitted.column.count) = x;
        fitted.mark(fitted.column.count++) = (unsigned short)frame;
    }
    return fitted;
}

// Equal samples by weight: which of them is dropped must not hang on frame order.
__device__ void sort_with_frames(const Pixel &pixel, const Fitted &fitted, const int *table, int comparators) {
    const Column &column = fitted.column;
    for (int k = 0; k < comparators; k++) {
        int above = table[2 * k], below = table[2 * k + 1];
        if (below >= column.count) continue;
        float a = column.sample(above), b = column.sample(below);
        unsigned short mark_a = fitted.mark(above), mark_b = fitted.mark(below);
        if (b < a || (b == a && pixel.weighted() && pixel.weight(mark_b) < pixel.weight(mark_a))) {
            column.sample(above) = b;
            column.sample(below) = a;
            fitted.mark(above) = mark_b;
            fitted.mark(below) = mark_a;
        }
    }
}

// The least-squares line of value against rank among the kept, which counts from the middle.
struct Line {
    double mean, slope;

    __device__ double deviation(double x, double rank) const { return x - mean - slope * rank; }
};

__device__ Line line_through(const Fitted &fitted, int left) {
    Line line = {0, 0};
    for (int i = 0; i < fitted.column.count; i++)
        if (fitted.kept(i)) line.mean += fitted.column[i];
    line.mean /= left;
    double rank = -(left - 1) / 2.0;
    for (int i = 0; i < fitted.column.count; i++)
        if (fitted.kept(i)) line.slope += rank++ * (fitted.column[i] - line.mean);
    line.slope /= left * ((double)left * left - 1) / 12;
    return line;
}

// Drop what is too far off the line, once; return how many are left.
__device__ int drop_outliers(const Fitted &fitted, int left, double kappa_low, double kappa_high, double rounding) {
    Line line = line_through(fitted, left);
    double sigma = 0, rank = -(left - 1) / 2.0;
    for (int i = 0; i < fitted.column.count; i++)
        if (fitted.kept(i)) sigma += fabs(line.deviation(fitted.column[i], rank++));
    sigma /= left;
    double down = reach(kappa_low, sigma) + rounding, up = reach(kappa_high, sigma) + rounding;
    rank = -(left - 1) / 2.0;
    for (int i = 0; i < fitted.column.count; i++) {
        if (!fitted.kept(i)) continue;
        double deviation = line.deviation(fitted.column[i], rank++);
        if (!(deviation >= -down && deviation <= up)) {
            fitted.mark(i) |= DROPPED;
            left--;
        }
    }
    return left;
}

__device__ double combine_kept(const Pixel &pixel, const Fitted &fitted, int combine) {
    const Column &column = fitted.column;
    if (combine == MEAN) {
        Mean mean = {0, 0, 0, 0, 0};
        for (int i = 0; i < column.count; i++)
            if (fitted.kept(i)) mean.add(column[i], pixel.weighted() ? pixel.weight(fitted.frame(i)) : 1);
        return mean.weight > 0 ? mean.result() : plain_mean(column);
    }
    Column kept = {column.at, column.step, 0};
    for (int i = 0; i < column.count; i++)
        if (fitted.kept(i)) kept.count++;
    if (kept.count == 0) return plain_mean(column);
    kept.count = 0;
    for (int i = 0; i < column.count; i++)
        if (fitted.kept(i)) kept.sample(kept.count++) = column.sample(i);
    Counted counted = {kept, 0, kept.count, 0, 0};
    return pick(counted, false, combine);
}

extern "C" __global__ void stack_linear_fit(PARAMETERS) {
    wide place = own_pixel();
    if (place >= pixels) return;
    Pixel pixel = pixel_at(place, samples, weights, period, frames, pixels);
    Fitted fitted = load_with_frames(pixel);
    int count = fitted.column.count, left = count;
    if (count == 0) {
        store(place, nan(""), 0, 0, image, coverage, rejected);
        return;
    }
    sort_with_frames(pixel, fitted, table, comparators);
    double smallest = fabs(fitted.column[0]), largest = fabs(fitted.column[count - 1]);
    double rounding = LINEAR_FIT_ROUNDING * (smallest > largest ? smallest : largest);
    for (int round = 0; round < LINEAR_FIT_ROUNDS && left >= LINEAR_FIT_MIN_SAMPLES; round++) {
        int before = left;
        left = drop_outliers(fitted, left, kappa_low, kappa_high, rounding);
        if (left == before) break;
    }
    store(place, combine_kept(pixel, fitted, combine), count, left, image, coverage, rejected);
}

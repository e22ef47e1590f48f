// One layer of a network as the panel kernels want it: which weights it keeps, in the orders that its products need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "panels.hpp"

namespace mast_edge {

// Floats on a cache line's boundary. What is in them after growing is undefined.
class Buffer {
  public:
    float *need(std::size_t count) {
        if (count > held_) {
            data_.reset(static_cast<float *>(::operator new(count * sizeof(float), std::align_val_t{64})));
            held_ = count;
        }
        return data_.get();
    }
    float *data() const { return data_.get(); }

  private:
    struct Release {
        void operator()(float *p) const { ::operator delete(p, std::align_val_t{64}); }
    };
    std::unique_ptr<float, Release> data_;
    std::size_t held_ = 0;
};

// Which rows of a product a layer's rows are, and which columns are its inputs. The GRU's recurrent product writes its
// last third elsewhere (`moved`), and the first central layer passes gradients on to some inputs only (`first_input`).
struct LayerShape {
    int out, in;
    std::int64_t weight, bias;  // first positions in the flat parameters
    int split = -1, moved = 0;  // rows from `split` on are rows + moved of the product; -1: none
    int first_input = 0;        // gradients of inputs before this one are not wanted
};

class PanelLayer {
  public:
    explicit PanelLayer(const LayerShape &shape);

    // mask (out, in), null = dense; heights: rows of each group of blocks, summing to `out`.
    void set_mask(const std::uint8_t *mask, const std::vector<int> &heights);
    void refresh(const float *flat);  // takes over the values of the kept weights and the bias

    void forward(const float *x, float *y, int vectors, int mode) const;
    // A layer with a split: rows before it are added to y, the others are not.
    void forward_split(const float *x, float *y, int vectors) const;
    void backward(const float *dy, float *dx, int vectors, int mode) const;

    // Gradients of weights and bias, collected over the panels of one unit of work in `sums`, lane by lane or as they
    // are, then added to the flat gradient; units are added in order, so that threads change nothing. `every`: also
    // those of weights that are not kept, for growth.
    void begin(Buffer &sums, bool every) const;
    void collect(Buffer &sums, bool every, const float *const *dy, const float *const *x, const int *vectors, int count,
                 float *scratch) const;
    void add_to(const Buffer &sums, bool every, float *grad) const;

    const LayerShape shape;
    std::int64_t kept() const { return kept_; }

  private:
    struct Part {  // groups of one height, and where each value lies in the flat parameters
        int height = 1;
        std::vector<std::int32_t> row, bias, start, column, position;
        std::vector<float> value;
        Blocks blocks() const;
    };
    struct Rows {  // a range of rows, which lie together in the product
        int first, count, to;
        std::vector<Part> forward;
        std::vector<Part> gradient;  // empty: all weights of the range, in a dense product
    };
    struct Cut {  // which rows of a mask, how many columns it has, and where the first row goes
        int first, count, to, columns;
    };
    static std::vector<Part> build(const std::vector<std::uint8_t> &mask, const std::vector<int> &heights, Cut cut);
    std::int64_t width() const { return (shape.in + kLanes - 1) / kLanes * kLanes; }
    std::int64_t size_of(const Rows &rows, bool every) const;

    std::vector<Rows> rows_;
    std::vector<Part> backward_;
    std::vector<float> bias_;
    std::int64_t kept_ = 0;
};

}  // namespace mast_edge

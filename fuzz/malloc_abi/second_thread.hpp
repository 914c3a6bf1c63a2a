// SPDX-License-Identifier: Apache-2.0
// A real thread that takes turns with its caller: whoever hands over waits until the other is done, so that the order is the program's.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace mpmm::fuzz {

class SecondThread {
  public:
    SecondThread() = default;
    ~SecondThread() { end(); }
    SecondThread(const SecondThread&) = delete;
    SecondThread& operator=(const SecondThread&) = delete;

    /// Runs the function in the other thread, which begins when there is none. Throws what it throws.
    void run(const std::function<void()>& function) {
        if (!thread_.joinable()) thread_ = std::thread([this] { take_turns(); });
        hand_over(&function);
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    }
    /// The thread ends, if there is one.
    void end() {
        if (!thread_.joinable()) return;
        static const std::function<void()> nothing;
        hand_over(&nothing);
        thread_.join();
    }

  private:
    void hand_over(const std::function<void()>* function) {
        std::unique_lock lock(mutex_);
        todo_ = function;
        turn_.notify_all();
        turn_.wait(lock, [&] { return todo_ == nullptr; });
    }
    void take_turns() {
        for (bool more = true; more;) {
            std::unique_lock lock(mutex_);
            turn_.wait(lock, [&] { return todo_ != nullptr; });
            more = static_cast<bool>(*todo_);
            try {
                if (more) (*todo_)();
            } catch (...) {
                thrown_ = std::current_exception();
            }
            todo_ = nullptr;
            turn_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable turn_;
    const std::function<void()>* todo_ = nullptr;
    std::exception_ptr thrown_;
    std::thread thread_;
};

}  // namespace mpmm::fuzz

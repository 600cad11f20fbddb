// SPDX-License-Identifier: MIT
#include "connection/registry.h"

#include <doctest/doctest.h>

#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

TEST_CASE("registry: numbers count on and are not used again at once") {
    Device device(1);
    const auto first = device.connect();
    CHECK(first->number() == 0);
    device.registry.release(first);
    CHECK(device.connect()->number() == 1);
    CHECK(device.connect()->number() == 2);
}

TEST_CASE("registry: the limits are a user's and the mount's") {
    Policy policy;
    policy.limits = {4, 2};
    Device device(1, policy);
    const Caller other{1001, 1001}, third{1002, 1002};
    const auto one = device.connect();
    (void)device.connect();
    CHECK(device.registry.create(kUser).error().code == EMFILE);
    (void)device.connect(other);  // one user at the limit does not stop another
    (void)device.connect(other);
    CHECK(device.registry.create(third).error().code == ENFILE);
    device.registry.release(one);
    (void)device.connect(third);
}

TEST_CASE("registry: another user's connection is not there") {
    Device device(1);
    const auto connection = device.connect();
    const auto number = connection->number();
    CHECK(device.registry.find(number, kUser.uid) == connection);
    CHECK(device.registry.find(number, 0) == connection);
    CHECK(device.registry.find(number, 1001) == nullptr);
    CHECK(device.registry.list(1001).empty());
    CHECK(device.registry.list(kUser.uid).size() == 1);
    CHECK(device.registry.list(0).size() == 1);
}

TEST_CASE("registry: idle between connections only") {
    Device device(1);
    CHECK(device.registry.idle_since());
    const auto connection = device.connect();
    CHECK_FALSE(device.registry.idle_since());
    REQUIRE(connection->opened());
    device.registry.release(connection);
    CHECK_FALSE(device.registry.idle_since());
    device.registry.release(connection);
    CHECK(device.registry.idle_since());
    CHECK_FALSE(connection->opened());
}

TEST_CASE("registry: no connection after abandon") {
    Device device(1);
    const auto connection = device.connect();
    device.registry.abandon(ECONNABORTED);
    CHECK(device.registry.create(kUser).error().code == ENODEV);
    CHECK(device.registry.list(0).empty());
    device.registry.release(connection);
}

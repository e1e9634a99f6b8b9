"""Which orders will be late? Declared here; `headwater` runs it."""

import headwater as hw


class Order(hw.Event, key="order_id", lateness="10m"):
    order_id: hw.Field[str]
    shop: hw.Field[str]
    courier: hw.Field[str]
    distance_km: hw.Field[float]


class Delivery(hw.Event, key="order_id", lateness="10m"):
    order_id: hw.Field[str]
    courier: hw.Field[str]
    minutes_late: hw.Field[float | None]  # None: never delivered


late = hw.Model(
    "late",
    on=Order,  # each order is scored once, when it comes in
    features=[
        Order.distance_km,
        hw.category(Order.shop),
        hw.count(Order, by=Order.shop, window="1h"),
        hw.mean(Delivery.minutes_late, by=Delivery.courier, half_life="3h"),
    ],
    label=hw.label(
        (Delivery.minutes_late >= 10) | Delivery.minutes_late.is_null(),
        join=Delivery.order_id,
        on=Order.order_id,
        within="6h",
        missing=hw.UNKNOWN,
    ),
    learner=hw.Linear(loss="log"),
)

app = hw.App("orders", models=[late])

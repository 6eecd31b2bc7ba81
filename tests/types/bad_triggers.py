from beluga_stream import Graph, Topic, batch, debounce, join
from models import *
orders, payments = Topic("o", Order), Topic("p", Payment)
def order_key(order: Order) -> str:
    return order.id
def payment_key(payment: Payment) -> str:
    return payment.order_id
alone = Graph[tuple[Order | None, Payment | None], Receipt]("alone")
one = Graph[Order, Receipt]("one")
def first(both: tuple[Order, Payment]) -> Order:
    return both[0]
def maybe(both: tuple[Order | None, Payment | None]) -> Order:
    return both[0] or Order("x")
pair = join(orders.by(order_key), payments.by(payment_key), within=600)
one.trigger(pair, first)
one.trigger(pair)                                                                   # 1 a tuple is no Order
orders.by(payment_key)                                                              # 2 a key of another type
join(orders.by(order_key), payments, within=600)                                    # 3 a topic without a key
join(orders.by(order_key), within=600)                                              # 4 a join of one
join(orders.by(order_key), payments.by(payment_key))                                # 5 no window
join(orders.by(order_key), payments.by(payment_key), within=6, on_missing="begin")  # 6 no such answer
join(orders.by(order_key), payments.by(payment_key), within=6, on_missing=one)      # 7 a graph of another type
some = join(orders.by(order_key), payments.by(payment_key), within=6, on_missing="start")
one.trigger(some, maybe)
one.trigger(some, first)                                                            # 8 what is missing may be None
one.trigger(batch(orders, size=5, within=1))                                        # 9 a list is no Order
one.trigger(debounce(payments, quiet=5))                                            # 10 a Payment is no Order
one.schedule("0 9 * * *", input="x")                                                # 11 a text is no Order
one.schedule("0 9 * * *", input=Order("x"), catch_up="some")                        # 12 no such policy

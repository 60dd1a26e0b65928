// Ten percent off from 100 on. The host gives the basket, and answers priceOf.
let total = 0;
loop item in basket {
    total = total + priceOf(item.name) * item.count;
}
let discount = 0;
if total >= 100 { discount = total * 0.1; }
return { total: total, toPay: total - discount };

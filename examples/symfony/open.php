<?php

// Opens the shop, once, before the instances start: php open.php books.json. Compiles what Symfony compiles, too.

require __DIR__.'/src/autoload.php';

App\Shop::open(getenv('SHOP_VAR').'/shop.json', json_decode(file_get_contents($argv[1]), true, 512, \JSON_THROW_ON_ERROR));
(new App\Kernel('prod', false))->boot();

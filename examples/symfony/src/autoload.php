<?php

// Debian's packages bring their own loaders, below PHP's include path; ours is the namespace App in this folder.

require_once 'Symfony/Bundle/FrameworkBundle/autoload.php';
require_once 'Symfony/Bundle/TwigBundle/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'App\\')) {
        require __DIR__.'/'.strtr(substr($class, 4), '\\', '/').'.php';
    }
});
